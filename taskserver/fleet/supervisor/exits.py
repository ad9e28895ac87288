"""What a replica's exit code means."""

from __future__ import annotations

import signal

from taskserver.worker.process_exit import EXIT_BROKEN, EXIT_RECYCLE

_MEANINGS = {
    -signal.SIGKILL: "killed, perhaps because the system was out of memory",
    -signal.SIGSEGV: "crashed in native code",
    -signal.SIGABRT: "aborted, perhaps because it was out of memory",
    -signal.SIGBUS: "crashed in native code",
    -signal.SIGALRM: "its event loop was blocked, and it did not stop in time",
    0: "stopped on request",
    1: "a Python error, see above",
    EXIT_BROKEN: "it could not continue, see above",
    EXIT_RECYCLE: "it asked to be replaced",
}


def describe_exit(code: int) -> str:
    """An exit code, or the negative number of a signal, in words."""
    meaning = _MEANINGS.get(code)
    name = f"exit code {code}" if code >= 0 else _signal_name(-code)
    return f"{name}: {meaning}" if meaning else name


def was_requested(code: int) -> bool:
    """Whether the replica was meant to exit, so that its successor can start at once."""
    return code in (0, EXIT_RECYCLE)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
