"""The signals of a worker's or supervisor's process: handled in its event loop, and kept there whatever tools do."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from taskserver.forks import own_signals

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The signals that stop a worker."""
SHELLS = ("sh", "bash", "dash", "ash", "busybox", "ksh", "zsh")
LOOK_SECONDS = 1.0
SOON_SECONDS = 0.02
"""How long after the end of an attempt to look: one look for all attempts that end meanwhile."""

Handler = Callable[[int], None]

log = logging.getLogger("taskserver.worker")


class SignalHandlers:
    """Handles signals in the running event loop, and keeps doing so.

    Tools import libraries that take signals for themselves, with ``signal.signal``, with the loop's own
    ``add_signal_handler``, or by taking the descriptor that wakes the loop. A worker that lost SIGTERM would die
    without handing its jobs back, or could not be stopped at all.

    Args:
        handlers: By signal, what to call.
        seconds: How long this process may live after the first signal, even if its event loop is blocked; None for any
            time.
    """

    def __init__(self, handlers: Mapping[int, Handler], seconds: float | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._handlers = dict(handlers)
        self._seconds = seconds
        self._reported = False
        self._soon: asyncio.TimerHandle | None = None
        self._install()
        self._wakeup = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        self._look()
        own_signals(self._handlers)

    def look_soon(self) -> None:
        """An attempt has ended: look whether it has left the signals alone."""
        if self._soon is None:
            self._soon = self._loop.call_later(SOON_SECONDS, self._restore)

    def ignore(self) -> None:
        """Ignore the signals from now on: what there was to do has been done in time."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._timer.cancel()
        if self._soon is not None:
            self._soon.cancel()
        signal.pthread_sigmask(signal.SIG_BLOCK, self._handlers)  # for a moment the loop restores their default actions
        for number in self._handlers:
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._handlers)

    def _install(self) -> None:
        for number in self._handlers:
            # The loop's own handler does nothing: it is there so that a signal wakes the loop. Ours can be told from
            # one that somebody else has added to the loop.
            self._loop.add_signal_handler(number, _wake)
            signal.signal(number, self._take)
            signal.siginterrupt(number, False)

    def _take(self, number: int, _: FrameType | None) -> None:
        if self._seconds is not None:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the kernel ends the process, whatever this thread is doing
            signal.setitimer(signal.ITIMER_REAL, self._seconds)
            self._seconds = None
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._handlers[number], number)

    def _look(self) -> None:
        self._restore()
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def _restore(self) -> None:
        self._soon = None
        lost = [signal.Signals(number).name for number in self._handlers if signal.getsignal(number) != self._take]
        if lost:
            self._install()
        if signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False) != self._wakeup or lost:
            self._report(lost)

    def _report(self, lost: list[str]) -> None:
        if not self._reported:
            self._reported = True
            log.warning(
                "a tool, or a library that it uses, took over %s; this process handles its signals itself again",
                " and ".join(lost) or "the wake-up descriptor of signals",
            )


def _wake() -> None:
    """A signal has woken the loop."""


@contextmanager
def handling(handlers: Mapping[int, Handler], seconds: float | None = None) -> Iterator[SignalHandlers]:
    """Handle signals in the running event loop. After ``nohup``, SIGHUP stays ignored.

    Afterwards they are ignored: the process is about to end, with an exit code that tells why.

    Args:
        handlers: By signal, what to call.
        seconds: How long this process may live after the first signal.
    """
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    ours = {n: handler for n, handler in handlers.items() if not (nohup and n == signal.SIGHUP)}
    kept = SignalHandlers(ours, seconds)
    try:
        yield kept
    finally:
        kept.ignore()


def prepare_signals() -> None:
    """Let SIGTERM end this process before it has set up its own handling: process 1 ignores unhandled signals.

    Call it before anything else in a worker or supervisor, so that its exit hook is the last one to run.
    """
    atexit.register(_ignore_signals)
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))


def _ignore_signals() -> None:
    """At its end, Python restores the default actions of signals, and those would change the exit code."""
    for number in STOPPING:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_IGN)


def warn_of_shell() -> None:
    """Log that SIGTERM will not arrive, if a shell has started this process and keeps it to itself, as process 1."""
    if os.getppid() != 1 or sys.stderr.isatty():  # who types at a shell in a container has other means
        return
    with suppress(OSError):  # no such file, or somebody else's process
        name = Path("/proc/1/exe").readlink().name
        if name in SHELLS:
            log.warning(
                "process 1 is a shell (%s), which does not pass SIGTERM on: start taskserver with exec in front of it",
                name,
            )
