"""Runs every command: from its arguments to its exit code."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click
from click.shell_completion import shell_complete

from taskserver.cli.failures import explain
from taskserver.cli.groups import CommandEntry, LazyGroup
from taskserver.cli.stdout import stdout
from taskserver.version import VERSION

PROGRAM = "taskserver"
COMPLETE_VARIABLE = "_TASKSERVER_COMPLETE"

COMMANDS = {
    "worker": CommandEntry(
        "taskserver.cli.worker.group:worker", "Run the tools of your modules; show, stop and scale workers."
    ),
    "up": CommandEntry("taskserver.cli.up:up", "Start everything that a configuration file declares."),
    "down": CommandEntry("taskserver.cli.up:down", "Stop what up has started."),
    "ps": CommandEntry("taskserver.cli.up:ps", "List the task servers that are up on this machine."),
    "setup": CommandEntry("taskserver.cli.setup:setup", "Render a configuration file for Kubernetes, and apply it."),
    "config": CommandEntry("taskserver.cli.config:config", "Check a configuration file, or show its values."),
    "submit": CommandEntry("taskserver.cli.submit:submit", "Submit a tool call."),
    "job": CommandEntry("taskserver.cli.job:job", "List, follow, cancel and retry jobs."),
    "dead": CommandEntry("taskserver.cli.dead:dead", "List, export, requeue and delete dead letters."),
    "queue": CommandEntry("taskserver.cli.queue:queue", "List, pause, resume, empty and grow queues."),
    "tools": CommandEntry("taskserver.cli.tools:tools", "List the tools of your modules, for people or for agents."),
    "broker": CommandEntry(
        "taskserver.cli.broker:broker", "Start, stop or show the embedded broker; print access rules."
    ),
    "metrics": CommandEntry(
        "taskserver.cli.metrics:metrics_", "Serve metrics of all queues and workers for Prometheus."
    ),
    "doctor": CommandEntry("taskserver.cli.doctor:doctor", "Examine the broker and the queues, and repair them."),
    "demo": CommandEntry("taskserver.cli.demo:demo", "Run a one-minute demonstration."),
    "completion": CommandEntry("taskserver.cli.completion:completion", "Print the completion script of a shell."),
}


@click.group(
    PROGRAM,
    cls=LazyGroup,
    entries=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Data goes to stdout, everything else to stderr. Exit codes: 0 success, 1 the job failed, "
    "2 usage, 3 no such job or worker, 4 broker, 5 timed out, 130 interrupted.",
)
@click.version_option(VERSION, "--version", prog_name=PROGRAM, message="%(prog)s %(version)s")
def root() -> None:
    """The job queue for the slow and heavy work of AI agents.

    Set the broker with --broker URL or TASKSERVER_BROKER_URL; with neither, an embedded broker is started.
    """


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    try:
        if instruction := os.environ.get(COMPLETE_VARIABLE):
            return shell_complete(root, {}, PROGRAM, COMPLETE_VARIABLE, instruction)
        code = _invoke(arguments)
        stdout().flush()  # here, where a reader that has gone is still handled
        return code
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever it is, it is reported in one sentence
        return explain(error)


def _invoke(arguments: list[str]) -> int:
    try:
        with root.make_context(PROGRAM, arguments) as context:
            root.invoke(context)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    return 0


def main() -> NoReturn:
    """The command ``taskserver``."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(run(sys.argv[1:]))
