"""Watches an event loop from another thread: how long does it take to run a new callback?"""

from __future__ import annotations

import asyncio
import time


class LoopWatch:
    """Gives the loop one callback at a time, and measures how long it takes to run it. Call ``ask`` often.

    Args:
        loop: The loop, running in another thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asked: float | None = None
        self._took = 0.0

    def ask(self) -> None:
        """Give the loop a callback, unless the last one has not run yet."""
        if self._asked is None:
            self._asked = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(self._answer)
            except RuntimeError:  # it is closed and will never answer, which `silence` shows
                return

    def _answer(self) -> None:
        if self._asked is not None:
            self._took, self._asked = time.monotonic() - self._asked, None

    @property
    def lag(self) -> float:
        """Seconds that the last callback took to run, or that the current one has waited so far if that is longer."""
        asked = self._asked
        return self._took if asked is None else max(self._took, time.monotonic() - asked)

    @property
    def silence(self) -> float:
        """Seconds for which the current callback has waited; 0 if there is none."""
        asked = self._asked
        return 0.0 if asked is None else time.monotonic() - asked
