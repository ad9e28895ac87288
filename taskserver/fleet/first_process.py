"""The duties of process 1 for a lone worker: its tools leave orphans behind, and somebody must wait for those.

A worker cannot do that itself. It would have to wait for any child that has ended, and so would take the exit codes of
programs from the tools that have started them. So the worker becomes a child of process 1, which does nothing else. (A
supervisor starts no other programs, and waits for orphans itself: ``supervisor/reaper.py``.)
"""

from __future__ import annotations

import os
import signal

_PASSED_ON = {
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT,
}  # fmt: skip
_WAITED_FOR = _PASSED_ON | {signal.SIGCHLD}


def become_child_of_first_process() -> None:
    """If this is process 1, go on in a child; process 1 stays behind, and ends as the child ends.

    Call it while there are no threads yet.
    """
    if os.getpid() != 1:
        return
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    child = os.fork()
    if not child:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return
    while True:
        found = signal.sigwaitinfo(_WAITED_FOR)
        if found.si_signo == signal.SIGCHLD:
            _reap(child)
        elif found.si_code <= 0:  # sent by a process; what a terminal sends, the child has received as well
            os.kill(child, found.si_signo)


def _reap(child: int) -> None:
    """Wait for all that have ended; end if the child is one of them."""
    while True:
        ended, status = os.waitpid(-1, os.WNOHANG)
        if not ended:
            return
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
