"""Process 1's duty: what loses its parent becomes its child, and is a zombie until it is waited for."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LOOK_SECONDS = 1.0

_PR_GET_CHILD_SUBREAPER = 37


def inherits_orphans() -> bool:
    """Whether processes whose parent has died become children of this one."""
    if os.getpid() == 1:
        return True
    if not sys.platform.startswith("linux"):
        return False
    answer = ctypes.c_int(0)
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0) == 0 and answer.value == 1


class Children:
    """The processes that this one has started and waits for itself."""

    def __init__(self) -> None:
        self._pids: set[int] = set()
        self._starting = 0

    @contextmanager
    def starting(self) -> Iterator[None]:
        """While a process is being started, whose number nobody knows yet."""
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1

    def add(self, pid: int) -> None:
        """It has started."""
        self._pids.add(pid)

    def discard(self, pid: int) -> None:
        """It has ended, and was waited for."""
        self._pids.discard(pid)

    def reap_others(self) -> int:
        """Wait for the children that have ended and that nobody here has started; how many there were.

        One of our own that has just ended hides those behind it: the event loop is about to wait for it.
        """
        count = 0
        while not self._starting:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:  # no child at all
                break
            if ended is None or ended.si_pid in self._pids:
                break
            with suppress(ChildProcessError):
                os.waitpid(ended.si_pid, os.WNOHANG)
            count += 1
        return count


children = Children()
"""Of this process."""


async def reap_orphans() -> None:
    """Wait for orphans that have ended, again and again."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        children.reap_others()
