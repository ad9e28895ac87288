"""What people get wrong about a file: one clear error each, exit code 2, and nothing is half started."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.cli import COMMAND, Cli, Done

BROKERS = "broker: [{name: main, type: redis}, {name: other, type: redis}]\n"
SERVER = "{type: redis-streams, name: a, broker_resource_name: main, tools: [{module: agent_tools}]}"
BRINGING = ((), ("--detach",))


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """Nothing is configured: the embedded broker would have to start."""
    cli = Cli(tmp_path, {})
    yield cli
    cli.close()


def write(cli: Cli, server: str = SERVER) -> str:
    (cli.folder / "file.yaml").write_text(f"{BROKERS}task_server: {server}\n")
    return "file.yaml"


def refused(done: Done, message: str) -> None:
    assert (done.code, done.out) == (2, ""), done
    assert message in done.err, done.err


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (
            SERVER.replace("name: a", "name: a, replcas: 2"),
            "task_server.replcas: unknown key; did you mean 'replicas'?",
        ),
        (SERVER.replace("name: a", "name: a, replicas: lots"), "replicas: must be a whole number, not 'lots'"),
        (SERVER.replace("name: a", "name: a, replicas: 0"), "replicas: must be at least 1, not 0"),
        (SERVER.replace("name: a", "name: a, replicas: -3"), "replicas: must be at least 1, not -3"),
        (
            SERVER.replace("e: main", "e: mian"),
            "there is no broker 'mian' in this file, only main, other; did you mean 'main'?",
        ),
        (f"[{SERVER}, {SERVER}]", "another task server is already named 'a'"),
    ],
    ids=["unknown key", "wrong type", "no replicas", "negative replicas", "missing broker", "two alike"],
)
def test_what_the_file_has_wrong(cli: Cli, server: str, message: str) -> None:
    file = write(cli, server)
    done = cli.run("up", "--config-file", file)
    refused(done, message)
    assert done.err.startswith("taskserver: file.yaml:2: ")
    assert done.err.count("\n") == 1
    assert not (cli.folder / "home").exists()


def test_every_command_that_reads_the_file_says_so(cli: Cli) -> None:
    file = write(cli, SERVER.replace("name: a", "name: a, replicas: 0"))
    for command in (
        ("config", "check", "-f", file),
        ("worker", "--config-file", file),
        ("up", "--detach", "--config-file", file),
    ):
        refused(cli.run(*command), "taskserver: file.yaml:2: task_server.replicas: must be at least 1, not 0\n")
    assert not (cli.folder / "home").exists()


def test_a_module_that_cannot_be_imported_shows_its_own_traceback_alone(cli: Cli) -> None:
    (cli.folder / "broken.py").write_text("def give_up():\n    raise ValueError('no such thing')\n\n\ngive_up()\n")
    file = write(cli, SERVER.replace("agent_tools", "broken"))
    for command in (("worker", "--config-file", file), *(("up", "--config-file", file, *more) for more in BRINGING)):
        done = cli.run(*command)
        refused(done, "taskserver: module 'broken' failed to import:\nTraceback (most recent call last):\n")
        assert done.err.endswith("ValueError: no such thing\n")
        assert done.err.count('File "') == done.err.count("broken.py") == 2
    assert cli.ok("ps", "--json").json == []
    assert not cli.ok("broker", "status", "--json").json["users"]


def test_a_port_in_use_starts_nothing(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        file = write(cli, SERVER.replace("name: a", f"name: a, metrics_port: {taken.getsockname()[1]}"))
        refused(cli.run("worker", "--config-file", file), "address already in use; choose another --metrics-port, or 0")
        port = str(taken.getsockname()[1])
        done = cli.run("metrics", "--port", port)
        assert done.code == 2
        assert "address already in use; choose another --port, or 0" in done.err
    assert not cli.ok("broker", "status", "--json").json["running"]


@pytest.mark.parametrize("folder", [".", "data"], ids=["the folder", "its data"])
def test_no_permission_on_the_data_folder(cli: Cli, folder: str) -> None:
    file = write(cli)
    locked = cli.folder / "home" / folder
    locked.mkdir(parents=True)
    locked.chmod(0o500)
    try:
        for command in (
            ("worker", "--config-file", file),
            *(("up", "--config-file", file, *more) for more in BRINGING),
        ):
            done = powerless(cli, *command)
            refused(done, f"'{cli.folder}/home")
            assert "set TASKSERVER_HOME to a folder of your own" in done.err
            assert done.err.count("\n") == 1
    finally:
        locked.chmod(0o700)


def test_no_permission_to_look_at_the_data_folder(cli: Cli) -> None:
    (home := cli.folder / "home").mkdir(mode=0)
    try:
        for command in (("ps",), *(("up", "--config-file", write(cli), *more) for more in BRINGING)):
            refused(powerless(cli, *command), "(Permission denied): set TASKSERVER_HOME to a folder of your own")
    finally:
        home.chmod(0o700)


def powerless(cli: Cli, *arguments: str) -> Done:
    """Run a command as a user for whom permissions count: root is asked to forget that it is above them."""
    if os.geteuid() != 0:
        return cli.run(*arguments)
    if shutil.which("setpriv") is None:
        pytest.skip("root may write anywhere, and setpriv is not there to change that")
    return cli.run_program("setpriv", "--bounding-set=-dac_override,-dac_read_search", *COMMAND, *arguments)
