"""``taskserver config`` and ``worker --config-file``: a file is checked, shown, and worked by."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from taskserver.config.schema import schema
from tests.acceptance.cli import Cli

FILE = """\
broker: {name: redis, type: redis, url: "${URL}"}
task_server:
  name: task_server
  replicas: 1
  concurrency_per_replica: 3
  queues: [{name: fast, weight: 3}, slow]
  tools: [{module: agent_tools}]
  env: {API_KEY: "${KEY}", GREETING: hello}
"""


def write(cli: Cli, text: str, name: str = "config.yaml") -> str:
    (cli.folder / name).write_text(text)
    return name


def test_check_tells_all_errors_and_starts_nothing(cli: Cli) -> None:
    write(cli, FILE.replace("replicas: 1", "replica: 1").replace("slow]", "fast]"))
    done = cli.run("config", "check", "-f", "config.yaml", URL="unix:///nowhere", KEY="hidden")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "taskserver: 2 errors in config.yaml:\n"
        "config.yaml:4: task_server.replica: unknown key; did you mean 'replicas'?\n"
        "config.yaml:6: task_server.queues[1]: queue 'fast' is listed twice\n"
    )
    done = cli.run("config", "check", "-f", "config.yaml", "--json", URL="unix:///nowhere", KEY="hidden")
    assert done.code == 2
    assert done.json[0] == {
        "file": "config.yaml",
        "line": 4,
        "key": "task_server.replica",
        "text": "unknown key; did you mean 'replicas'?",
    }


def test_check_says_what_there_is(cli: Cli) -> None:
    write(cli, FILE)
    done = cli.ok("config", "check", "-f", "config.yaml", URL="unix:///nowhere", KEY="hidden")
    assert done.out == "config.yaml is ok: 1 broker, redis (redis); 1 task server, task_server (1 replica on redis)\n"


def test_show_says_where_each_value_comes_from_and_no_secret(cli: Cli) -> None:
    write(cli, FILE)
    env = {"URL": "redis://user:hidden@host:1", "KEY": "hidden", "TASKSERVER_LEASE": "20"}
    rows = {row["key"]: (row["value"], row["source"]) for row in cli.ok(
        "config", "show", "-f", "config.yaml", "--json", **env).json}  # fmt: skip
    assert rows["broker.url"] == ("redis://host:1", "line 1: environment variable URL")
    assert rows["task_server.concurrency_per_replica"] == (3, "line 5")
    assert rows["task_server.lease"] == (20.0, "environment variable TASKSERVER_LEASE")
    assert rows["task_server.grace_period"] == (30.0, "default")
    assert rows["task_server.queues[1]"] == ("slow", "line 6")
    assert {key for key in rows if "concurrency" in key} == {"task_server.concurrency_per_replica"}
    assert rows["task_server.env.API_KEY"] == ("[secret]", "line 8: environment variable KEY")
    assert rows["task_server.env.GREETING"] == ("hello", "line 8")
    assert "hidden" not in cli.ok("config", "show", "-f", "config.yaml", **env).out


def test_the_published_schema_is_that_of_the_models(cli: Cli) -> None:
    printed = cli.ok("config", "schema").json
    published = Path(__file__).parents[2] / "docs" / "assets" / "config.schema.json"
    assert printed == schema() == json.loads(published.read_text())


def test_a_worker_by_the_file(cli: Cli) -> None:
    write(cli, FILE)
    env = {"URL": cli.env["TASKSERVER_BROKER_URL"], "KEY": "hidden", "TASKSERVER_TOOLS": "not_this_one"}
    worker = cli.start("worker", "--config-file", "config.yaml", **env)
    assert "queues fast, slow; 3 slots" in worker.wait_for("is ready")
    assert cli.ok("submit", "add", "a=1", "--queue", "slow", "--wait").out == "2\n"
    worker.signal(signal.SIGTERM)
    done = worker.end()
    assert done.code == 0
    assert "hidden" not in done.err


def test_flags_win(cli: Cli) -> None:
    write(cli, FILE)
    worker = cli.start(
        "worker", "--config-file", "config.yaml", "--task-server", "task_server", "-c", "2", "-q", "other=2", "-q", "b",
        URL=cli.env["TASKSERVER_BROKER_URL"], KEY="hidden",
    )  # fmt: skip
    assert "queues other, b; 2 slots" in worker.wait_for("is ready")


def test_environment_and_single_classes(cli: Cli) -> None:
    (cli.folder / "more.py").write_text(
        "import os\n\n\nclass Greeting:\n    def run(self, name: str) -> str:\n"
        "        return f\"{os.environ['GREETING']} {name}\"\n"
    )
    write(cli, FILE.replace("{module: agent_tools}", "{module: ./more.py, class: Greeting, name: greet}"))
    worker = cli.start("worker", "--config-file", "config.yaml", URL=cli.env["TASKSERVER_BROKER_URL"], KEY="hidden")
    assert "tool greet" in worker.wait_for("is ready")
    assert cli.ok("submit", "greet", "name=you", "--queue", "fast", "--wait").out == "hello you\n"


def test_what_cannot_be_is_one_sentence(cli: Cli) -> None:
    write(cli, FILE)
    unset = cli.run("worker", "--config-file", "config.yaml", KEY="x")
    assert (unset.code, unset.err) == (
        2,
        "taskserver: config.yaml:1: broker.url: environment variable URL is not set: set it, or write "
        "${URL:-default}\n",
    )
    without_file = cli.run("worker", "--task-server", "a", "--tools", "agent_tools")
    assert (without_file.code, without_file.err.splitlines()[0]) == (
        2, "taskserver: --task-server requires --config-file"
    )  # fmt: skip
    weight = cli.run("worker", "--tools", "agent_tools", "-q", "a=many")
    assert weight.code == 2
    assert "'=' must be followed by the queue's weight, 1 to 1000, as in fast=3" in weight.err
