"""Why a replica ended, in words, and what follows from it."""

from __future__ import annotations

import signal

from taskserver.worker.process_exit import EXIT_BROKEN, EXIT_RECYCLE

_MEANINGS = {
    -signal.SIGKILL: "killed, perhaps by the system because memory was out",
    -signal.SIGSEGV: "crashed in native code",
    -signal.SIGABRT: "aborted, perhaps because memory was out",
    -signal.SIGBUS: "crashed in native code",
    0: "it was told to stop",
    1: "an error of the interpreter, see above",
    EXIT_BROKEN: "it could not go on and ended itself, see above",
    EXIT_RECYCLE: "it asked to be replaced",
}


def reason(code: int) -> str:
    """An exit code, or the negative number of a signal, as people understand it."""
    meaning = _MEANINGS.get(code)
    what = f"exit code {code}" if code >= 0 else _signal(-code)
    return f"{what}: {meaning}" if meaning else what


def asked_for(code: int) -> bool:
    """Whether somebody wanted it to end so, so that its successor need not wait."""
    return code in (0, EXIT_RECYCLE)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
