"""``taskserver up``, ``down`` and ``ps``: everything that a file declares, as real processes."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.acceptance.cli import Cli
from tests.patience import PATIENCE

FILE = """\
broker: {name: redis, type: redis}
task_server:
  - name: first
    replicas: 2
    concurrency_per_replica: 1
    broker_resource_name: redis
    tools: [agent_tools]
    loglevel: warning
  - {name: second, queues: other, tools: agent_tools, loglevel: warning}
"""
CELERY = """\
task_server:
  type: celery
  name: task_server
  replicas: 4
  concurrency_per_replica: 1
  broker_resource_name: redis
"""


def write(cli: Cli, text: str) -> None:
    (cli.folder / "config.yaml").write_text(text)


def until_gone(pid: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process, deadline = psutil.Process(pid), time.monotonic() + PATIENCE
        while process.status() != psutil.STATUS_ZOMBIE:  # which its parent has yet to wait for
            assert time.monotonic() < deadline, f"{process} is still there"
            time.sleep(0.01)


def test_up_in_the_foreground(embedded_cli: Cli) -> None:
    cli = embedded_cli
    write(cli, FILE)
    up = cli.start("up", "--config-file", "config.yaml")
    up.wait_for("broker redis: embedded, in ")
    up.wait_for("task server first: 2 replicas ready, queue default")
    up.wait_for("task server second: 1 replica ready, queue other")
    up.wait_for("config.yaml is up")
    assert cli.ok("submit", "add", "a=1", "--queue", "other", "--wait").out == "2\n"
    rows = cli.ok("ps", "--json").json
    assert [(row["task_server"], row["ready"], row["replicas"], row["queues"], row["pid"]) for row in rows] == [
        ("first", 2, 2, ["default"], up.pid),
        ("second", 1, 1, ["other"], up.pid),
    ]
    assert "first          2/2" in cli.ok("ps", "--config-file", "config.yaml").out
    again = cli.run("up", "--config-file", "config.yaml")
    assert (again.code, again.err) == (
        2,
        f"taskserver: config.yaml is already up (process {up.pid}): stop it with taskserver down --config-file "
        "config.yaml\n",
    )
    up.signal(signal.SIGINT)
    done = up.end()
    assert (done.code, done.out) == (0, "")
    assert done.err.endswith("config.yaml is down\n")
    assert cli.ok("ps").err == "nothing is up\n"


def test_up_detached_and_down(embedded_cli: Cli) -> None:
    cli = embedded_cli
    write(cli, FILE)
    try:
        done = cli.ok("up", "--config-file", "config.yaml", "--detach")
        assert "task server first: 2 of 2 ready, queue default\n" in done.err
        rows = cli.ok("ps", "--json").json
        assert cli.ok("submit", "add", "a=1", "--wait").out == "2\n"
    finally:
        down = cli.ok("down", "--config-file", "config.yaml")
    assert down.err == "config.yaml is down\n"
    for pid in [pid for row in rows for pid in (row["pid"], *row["replica_pids"])]:
        until_gone(pid)
    assert cli.ok("down", "--config-file", "config.yaml").err == "config.yaml is not up\n"
    assert cli.ok("ps", "--json").json == []


def test_a_configuration_for_celery_runs_after_one_change(embedded_cli: Cli) -> None:
    cli = embedded_cli
    write(cli, CELERY + "  tools: [{module: agent_tools}]\nbroker: {name: redis, type: redis}\n")
    refused = cli.run("up", "--config-file", "config.yaml", "--detach")
    assert (refused.code, refused.err) == (
        2,
        "taskserver: config.yaml:2: task_server.type: 'celery' is not supported: write redis-streams; the rest "
        "can stay as it is\n",
    )
    write(cli, (cli.folder / "config.yaml").read_text().replace("celery", "redis-streams"))
    try:
        cli.ok("up", "--config-file", "config.yaml", "--detach")
        (row,) = cli.ok("ps", "--json").json
        assert (row["task_server"], row["ready"], row["broker"]) == ("task_server", 4, "redis")
        assert cli.ok("submit", "add", "a=1", "--wait").out == "2\n"
    finally:
        cli.run("down", "--config-file", "config.yaml")


def test_broker_and_tools_may_come_from_the_environment(cli: Cli) -> None:
    write(cli, CELERY.replace("celery", "redis-streams").replace("replicas: 4", "replicas: 1"))
    refused = cli.run("up", "--config-file", "config.yaml")
    assert (refused.code, refused.err) == (
        2,
        "taskserver: config.yaml:1: task_server.tools: is missing: write tools: [{module: my_agent.tools}], or set "
        "the module with --tools or TASKSERVER_TOOLS\n",
    )
    up = cli.start("up", "--config-file", "config.yaml", TASKSERVER_TOOLS="agent_tools")
    up.wait_for("config.yaml is up")
    assert cli.ok("submit", "add", "a=1", "--wait").out == "2\n"
    up.signal(signal.SIGTERM)
    assert up.end().code == 0


@pytest.mark.parametrize("how", [(), ("--detach",)])
def test_a_module_that_fails_brings_nothing_up(embedded_cli: Cli, how: tuple[str, ...]) -> None:
    cli = embedded_cli
    (cli.folder / "broken.py").write_text("import nowhere_to_be_found\n")
    write(cli, "task_server: [{name: a, tools: agent_tools, loglevel: warning}, {name: b, tools: broken}]\n")
    done = cli.run("up", "--config-file", "config.yaml", *how)
    assert done.code == 2
    lines = done.err[done.err.index("taskserver: module 'broken'") :].splitlines()
    assert lines[0] == "taskserver: module 'broken' failed to import:"
    assert lines[2] == f'  File "{cli.folder}/broken.py", line 1, in <module>'
    assert lines[-1] == "ModuleNotFoundError: No module named 'nowhere_to_be_found'" or how == ()
    assert cli.ok("ps").err == "nothing is up\n"


def test_a_broker_that_does_not_answer_is_exit_code_4(cli: Cli) -> None:
    write(cli, "broker: {url: 'redis://127.0.0.1:1'}\ntask_server: {tools: agent_tools}\n")
    done = cli.run("up", "--config-file", "config.yaml", TASKSERVER_PATIENCE="0")
    assert done.code == 4
    assert "127.0.0.1:1" in done.err


def test_a_folder_that_is_not_writable(cli: Cli) -> None:
    write(cli, FILE)
    (cli.folder / "file").touch()
    done = cli.run("up", "--config-file", "config.yaml", TASKSERVER_HOME=str(cli.folder / "file"))
    assert done.code == 2
    assert done.err.startswith(f"taskserver: cannot use the folder '{Path(cli.folder, 'file')}' (it is not a folder)")
    assert done.err.endswith(": set TASKSERVER_HOME to a folder of your own\n")


def test_the_example_of_the_documentation(embedded_cli: Cli) -> None:
    cli = embedded_cli
    example = str(Path(__file__).parents[2] / "examples" / "config.yaml")
    cli.ok("config", "check", "--config-file", example)
    up = cli.start("up", "--config-file", example, AGENT_REPLICAS="1")
    up.wait_for("config.yaml is up")
    assert cli.ok("submit", "square", "number=3", "--wait", "--queue", "reports").out == "9\n"
    assert cli.ok("submit", "shout_at", "text=hello", "--wait", "--queue", "loud").out == "HELLO\n"
    up.signal(signal.SIGTERM)
    assert up.end().code == 0
