"""The duty of process 1: orphans become its children, and are zombies until it waits for them."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LOOK_SECONDS = 1.0

_PR_GET_CHILD_SUBREAPER = 37


class Children:
    """The processes that this one has started, and for which somebody here waits."""

    def __init__(self) -> None:
        self._pids: set[int] = set()
        self._starting = 0

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Around the start of a process whose pid is not known yet."""
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1

    def add(self, pid: int) -> None:
        """A process has started."""
        self._pids.add(pid)

    def discard(self, pid: int) -> None:
        """A process has ended, and was waited for."""
        self._pids.discard(pid)

    def reap_others(self) -> int:
        """Wait for ended children that nobody here has started; return how many there were.

        A child of our own that has just ended hides the ones after it until the event loop has waited for it.
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
"""The children of this process."""


async def reap_orphans() -> None:
    """Wait for orphans again and again; return at once if this process does not inherit any."""
    while _inherits_orphans():
        await asyncio.sleep(LOOK_SECONDS)
        children.reap_others()


def _inherits_orphans() -> bool:
    """Whether orphans become children of this process."""
    if os.getpid() == 1:
        return True
    if not sys.platform.startswith("linux"):
        return False
    answer = ctypes.c_int(0)
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0) == 0 and answer.value == 1
