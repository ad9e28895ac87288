"""Where every command begins and ends."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click
from click.shell_completion import shell_complete

from taskserver.cli.failures import explain
from taskserver.cli.groups import Entry, LazyGroup
from taskserver.version import VERSION

PROGRAM = "taskserver"
COMPLETE_VARIABLE = "_TASKSERVER_COMPLETE"

COMMANDS = {
    "worker": Entry("taskserver.cli.worker.group:worker", "Run the tools of your modules for whoever submits jobs."),
    "up": Entry("taskserver.cli.up:up", "Bring up all that a configuration file declares."),
    "down": Entry("taskserver.cli.up:down", "End what was brought up."),
    "ps": Entry("taskserver.cli.up:ps", "Show what is up on this machine."),
    "setup": Entry("taskserver.cli.setup:setup", "Render a configuration file for Kubernetes, and apply it."),
    "config": Entry("taskserver.cli.config:config", "Check a configuration file, and show what it says."),
    "submit": Entry("taskserver.cli.submit:submit", "Hand a tool call to the workers."),
    "job": Entry("taskserver.cli.job:job", "Look at jobs, await, cancel or repeat them."),
    "dead": Entry("taskserver.cli.dead:dead", "Look at dead letters, export, requeue or delete them."),
    "queue": Entry("taskserver.cli.queue:queue", "Look at queues, pause, resume or empty them."),
    "tools": Entry("taskserver.cli.tools:tools", "Describe the tools of your modules, also for agents."),
    "broker": Entry("taskserver.cli.broker:broker", "Start, stop or look at the embedded broker; print users' rights."),
    "metrics": Entry("taskserver.cli.metrics:metrics_", "Serve metrics of all queues and workers to Prometheus."),
    "doctor": Entry("taskserver.cli.doctor:doctor", "Check the broker and the queues, and repair them."),
    "demo": Entry("taskserver.cli.demo:demo", "See it all at work, in a minute."),
    "completion": Entry("taskserver.cli.completion:completion", "Print the script that completes commands in a shell."),
}


@click.group(
    PROGRAM,
    cls=LazyGroup,
    entries=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 the job failed, 2 usage, "
    "3 no such job or worker, 4 broker, 5 waited long enough, 130 interrupted.",
)
@click.version_option(VERSION, "--version", prog_name=PROGRAM, message="%(prog)s %(version)s")
def root() -> None:
    """The job queue that AI agents hand their slow and heavy work to.

    Where the broker is says --broker URL or TASKSERVER_BROKER_URL; with neither, an embedded one is started.
    """


def run(arguments: list[str]) -> int:
    """Carry out one command and return its exit code."""
    try:
        if instruction := os.environ.get(COMPLETE_VARIABLE):
            return shell_complete(root, {}, PROGRAM, COMPLETE_VARIABLE, instruction)
        code = _invoke(arguments)
        sys.stdout.flush()  # here, where it is still explained if nobody reads it
        return code
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever it is, it is told in one sentence
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
