"""What processes that are forked from ours let go of: signals, file descriptors that others wait for, and clients.

Libraries fork helpers from inside tools, as multiprocessing does with its start method "fork". A helper must end when
it is told to, and it must not hold a port or a lock of ours after we have ended. Servers fork after they have loaded a
program and its clients, whose threads and connections remain the parent's.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable
from typing import Protocol, TypeVar
from weakref import WeakSet


class Closable(Protocol):
    """A file, socket or lock."""

    def close(self) -> None:
        """Close its file descriptor."""


class Forked(Protocol):
    """Something that is different in a forked process."""

    def forked(self) -> None:
        """This is a forked process."""


T = TypeVar("T", bound=Closable)

_signals: set[int] = set()
_closed: WeakSet[Closable] = WeakSet()
_called: WeakSet[Forked] = WeakSet()
_of_parent: list[object] = []


def own_signals(numbers: Iterable[int]) -> None:
    """This process handles these signals; in processes forked from it, they do what they do in any program."""
    _signals.update(numbers)


def close_in_child(held: T) -> T:
    """Close this in processes that are forked from ours, as long as it exists. Returns it."""
    _closed.add(held)
    return held


def call_in_child(each: Forked) -> None:
    """Call its ``forked`` in processes that are forked from ours, as long as it exists."""
    _called.add(each)


def leave_to_parent(thing: object) -> None:
    """Keep something of the parent's: a forked process that frees it would take the parent's sockets off its loop."""
    _of_parent.append(thing)


class _Mask(threading.local):
    """The signals that a thread had blocked before it forks."""

    before: set[int | signal.Signals]


_mask = _Mask()


def _hold() -> None:
    """Let signals to the new process wait until it does not handle them as we do."""
    _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, _signals)


def _unhold() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


def _let_go() -> None:
    if _signals:
        signal.set_wakeup_fd(-1)  # else its signals would arrive in our event loop (until Python 3.12)
    for number in _signals:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    _signals.clear()
    for held in list(_closed):
        held.close()
    for each in list(_called):
        each.forked()
    _unhold()


os.register_at_fork(before=_hold, after_in_parent=_unhold, after_in_child=_let_go)
