"""Watching an event loop from another thread: how long does it take to come to what is new?"""

from __future__ import annotations

import asyncio
import time


class LoopWatch:
    """Asks the loop again and again, one question at a time. Only ``ask`` is to be called often.

    Args:
        loop: The loop, which another thread runs.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asked: float | None = None
        self._took = 0.0

    def ask(self) -> None:
        """Ask if nothing is asked yet."""
        if self._asked is None:
            self._asked = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(self._answer)
            except RuntimeError:  # it is closed: it will never answer, and that is what will be told
                return

    def _answer(self) -> None:
        if self._asked is not None:
            self._took, self._asked = time.monotonic() - self._asked, None

    @property
    def lag(self) -> float:
        """Seconds that the last answer took, or that the one that is awaited has taken so far, if that is longer."""
        asked = self._asked
        return self._took if asked is None else max(self._took, time.monotonic() - asked)

    @property
    def silence(self) -> float:
        """Seconds since the question that it has not answered yet."""
        asked = self._asked
        return 0.0 if asked is None else time.monotonic() - asked
