"""Turns an error into one sentence on stderr and an exit code.

====  ==============================================================================
code  meaning
====  ==============================================================================
0     success
1     the job failed, was cancelled or has expired; or its state does not allow the command
2     the command, a setting, a module or an argument is not valid
3     no such job, or no such worker
4     the broker does not answer, refuses, is not suitable or is full
5     timed out; what was waited for continues
70    a bug in taskserver (EX_SOFTWARE of sysexits.h)
75    a worker ended in order to be replaced by a fresh one (EX_TEMPFAIL)
130   interrupted (128 and the number of SIGINT, as shells count)
141   the reader of the output has gone (128 and the number of SIGPIPE); no message
====  ==============================================================================
"""

from __future__ import annotations

import os
import traceback

import click

from taskserver.cli.stdout import stdout
from taskserver.errors import (
    BrokerError,
    ConfigError,
    JobNotFound,
    MessageError,
    ResultTimeout,
    TaskServerError,
    ToolError,
    WorkerNotFound,
    WorkersUnchanged,
)
from taskserver.observability.printable import printable
from taskserver.observability.redaction import redact

OK, FAILED, USAGE, NOT_FOUND, BROKER, TIMED_OUT, BUG, INTERRUPTED, UNREAD = 0, 1, 2, 3, 4, 5, 70, 130, 141

# The first match counts: from the particular to the general.
_CODES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], int], ...] = (
    ((ConfigError, ToolError, MessageError, click.ClickException), USAGE),
    ((JobNotFound, WorkerNotFound), NOT_FOUND),
    (BrokerError, BROKER),
    ((ResultTimeout, WorkersUnchanged), TIMED_OUT),
    (TaskServerError, FAILED),
    ((KeyboardInterrupt, click.Abort), INTERRUPTED),
    (BrokenPipeError, UNREAD),
)


def exit_code(error: BaseException) -> int:
    """The exit code for an error."""
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), BUG)


def explain(error: BaseException) -> int:
    """Print what went wrong on stderr, with a traceback if ``TASKSERVER_DEBUG`` is set; return the exit code."""
    code = exit_code(error)
    if code == UNREAD:
        _discard_output()
        return code
    if os.environ.get("TASKSERVER_DEBUG"):
        click.echo(printable(redact("".join(traceback.format_exception(error)))), err=True, nl=False)
    click.echo(printable(redact(f"taskserver: {_sentence(error, code)}")), err=True)
    return code


def _sentence(error: BaseException, code: int) -> str:
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{error.format_message()}\nTry '{error.ctx.command_path} --help' for help."
    if isinstance(error, click.ClickException):
        return error.format_message()
    if code == INTERRUPTED:
        return "interrupted"
    if code == BUG:
        return f"unexpected {type(error).__name__}: {error} (set TASKSERVER_DEBUG=1 for the traceback)"
    return str(error)


def _discard_output() -> None:
    """Let the interpreter's own flush at exit succeed."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stdout().fileno())
    os.close(nowhere)
