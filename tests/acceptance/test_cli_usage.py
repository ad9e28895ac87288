"""What every command has in common: help, exit codes, one sentence for an error, nothing but data on stdout."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from taskserver import __version__
from tests.acceptance.cli import COMMAND, Cli, without_colours

UNKNOWN = "default-01jd3kq8r0m4vv9tq2h5n7c1"
NOBODY = "redis://127.0.0.1:1"


def test_help_lists_every_command(cli: Cli) -> None:
    done = cli.ok("--help")
    for name in ("worker", "submit", "job", "dead", "queue", "tools", "broker", "doctor", "demo", "completion"):
        assert f"\n  {name}" in done.out


def test_version(cli: Cli) -> None:
    assert cli.ok("--version").out == f"taskserver {__version__}\n"


@pytest.mark.parametrize("group", [(), ("job",), ("dead",), ("queue",), ("tools",), ("broker",)])
def test_a_group_alone_prints_its_help_on_stderr(cli: Cli, group: tuple[str, ...]) -> None:
    done = cli.run(*group)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: taskserver")


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("wroker",), "no command 'wroker'; did you mean 'worker'?"),
        (("job", "staus"), "no command 'staus'; did you mean 'status'?"),
        (("worker", "strat"), "no command 'strat'; did you mean 'start'?"),
        (("submit",), "Missing argument 'TOOL'"),
        (("submit", "add", "--dealy", "3"), "No such option"),
        (("submit", "add", "--delay", "soon"), "'soon' is not a duration"),
        (("submit", "add", "--timeout", "3"), "--wait"),
        (("submit", "add", "7"), "expected key=value or one JSON object"),
        (("submit", "add", '{"a": 1'), "not a JSON object"),
        (("submit", "no tool"), "is not a valid tool name"),
        (("submit", "add", "--priority", "11"), "priority must be between 1 (most urgent) and 10"),
        (("submit", "add", "--queue", "a b"), "is not a valid queue name"),
        (("job", "status", "default-123"), "'default-123' is not a job id"),
        (("job", "list", "--state", "lost"), "'lost'"),
        (("queue", "pause", "no-such"), "no queue 'no-such'"),
        (("worker",), "--tools"),
        (("worker", "--tools", "agent_tools", "--lease", "0.1"), "between 0.3 and 3600"),
        (("worker", "--tools", "agent_tolls"), "did you mean 'agent_tools'?"),
        (("tools", "list"), "--tools"),
        (("dead", "requeue"), "by their ids, or by --all"),
        (("dead", "purge", UNKNOWN, "--all"), "by their ids, or by --all"),
        (("job", "list", "--broker", "http://localhost"), "is not a broker URL"),
        (("job", "list", "--broker", "redis://me:secret@localhost:x"), "is not a broker URL"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_exit_code_2(cli: Cli, args: tuple[str, ...], sentence: str) -> None:
    done = cli.run(*args)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("taskserver: ")
    assert sentence in done.err
    assert "Traceback" not in done.err
    assert "secret" not in done.err


@pytest.mark.parametrize("command", ["status", "result", "events", "cancel", "retry"])
def test_an_unknown_job_is_exit_code_3(cli: Cli, command: str) -> None:
    done = cli.run("job", command, UNKNOWN)
    assert (done.code, done.out) == (3, "")
    assert done.err == f"taskserver: job '{UNKNOWN}' not found: the id is unknown, or its record has expired\n"


@pytest.mark.parametrize(
    "args",
    [
        ("submit", "add", "a=1"),
        ("job", "status", UNKNOWN),
        ("job", "result", UNKNOWN),
        ("job", "events", UNKNOWN),
        ("job", "list"),
        ("dead", "list"),
        ("queue", "list"),
    ],
)
def test_a_broker_that_is_down_is_exit_code_4(cli: Cli, args: tuple[str, ...]) -> None:
    done = cli.run(*args, "--broker", NOBODY)
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith(f"taskserver: the broker at {NOBODY} does not answer")
    assert done.err.count("\n") == 1


def test_a_wrong_password_is_exit_code_4_and_is_not_shown(cli: Cli) -> None:
    url = cli.env["TASKSERVER_BROKER_URL"].replace("unix://", "unix://someone:wrong-secret@")
    done = cli.run("job", "list", TASKSERVER_BROKER_URL=url)
    assert done.code == 4
    assert "refused the user or password" in done.err
    assert "wrong-secret" not in done.err


def test_a_setting_that_is_wrong_is_named_by_who_uses_it_and_by_nobody_else(cli: Cli) -> None:
    done = cli.run("job", "list", TASKSERVER_PATIENCE="long")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "TASKSERVER_PATIENCE" in done.err
    assert cli.run("worker", TASKSERVER_LEASE="long").code == 2
    assert cli.run("job", "list", TASKSERVER_LEASE="long").code == 0


def test_an_unexpected_error_is_one_line_and_its_traceback_is_to_be_had(cli: Cli) -> None:
    (cli.folder / "sitecustomize.py").write_text(
        "import taskserver.embedded.control as control\n"
        "import taskserver.embedded as embedded\n"
        "def status(*_): raise RuntimeError('a bug')\n"
        "embedded.status = status\n"
    )
    path = os.pathsep.join((str(cli.folder), cli.env["PYTHONPATH"]))
    done = cli.run_fresh("broker", "status", PYTHONPATH=path)
    assert (done.code, done.out) == (70, "")
    assert done.err == "taskserver: unexpected RuntimeError: a bug (set TASKSERVER_DEBUG=1 for the traceback)\n"
    assert "Traceback" in cli.run_fresh("broker", "status", PYTHONPATH=path, TASKSERVER_DEBUG="1").err


def test_nobody_reading_the_output_is_silent(cli: Cli) -> None:
    cli.submit("add", "a=1")
    process = subprocess.Popen(
        [*COMMAND, "job", "list"],
        cwd=cli.folder,
        env=cli.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait() == 141


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_a_shell(cli: Cli, shell: str) -> None:
    assert "_TASKSERVER_COMPLETE" in cli.ok("completion", shell).out


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("job st", ["status"]),
        ("wo", ["worker"]),
        ("worker sta", ["start", "status"]),
        ("worker --rel", ["--reload"]),
        ("worker start --rel", ["--reload"]),
        ("worker --tools my_agent --rel", ["--reload"]),
    ],
)
def test_completion_completes(cli: Cli, words: str, completed: list[str]) -> None:
    typed = {"COMP_WORDS": f"taskserver {words}", "COMP_CWORD": str(len(words.split()))}
    done = cli.ok(_TASKSERVER_COMPLETE="bash_complete", **typed)
    assert done.out.split() == [f"plain,{word}" for word in completed]


def test_colours_only_at_a_terminal_that_wants_them(cli: Cli) -> None:
    cli.submit("add", "a=1")
    assert "\x1b" not in cli.ok("job", "list").out
    _, seen = cli.at_terminal("job", "list")
    assert "\x1b[36mqueued" in seen
    _, seen = cli.at_terminal("job", "list", NO_COLOR="1")
    assert "\x1b[36m" not in seen
    assert "queued" in without_colours(seen)


def test_nothing_of_a_job_reaches_the_terminal_as_an_escape(cli: Cli) -> None:
    worker = cli.worker()
    job = cli.run("submit", "fail", "message=\x1b]0;owned\x07\x9b31m\u202e", "--tag", "a\x1bb", "--wait")
    assert job.code == 1
    job_id = cli.ok("dead", "list", "--json").json[0]["id"]
    screens = [
        job.err,
        *(cli.run(*args).out for args in (("dead", "list"), ("job", "list"), ("job", "status", job_id))),
        *(cli.run(*args, "--json").out for args in (("dead", "show", job_id), ("job", "result", job_id))),
        "".join(worker.lines["err"]),
    ]
    for screen in screens:
        assert "owned" in screen
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(screen)
    assert json.loads(screens[-2])["error"]["message"] == "\x1b]0;owned\x07\x9b31m\u202e"


@pytest.mark.parametrize(
    "group", [(), ("worker",), ("job",), ("dead",), ("queue",), ("tools",), ("broker",), ("config",)]
)
def test_the_line_of_each_command_fits(cli: Cli, group: tuple[str, ...]) -> None:
    listed = cli.ok(*group, "--help").out.partition("Commands:")[2].splitlines()
    assert [line for line in listed if line.endswith("...") or len(line) > 80] == []
