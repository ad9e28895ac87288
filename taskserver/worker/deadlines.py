"""Deadlines: when the time of an attempt is over.

An event loop timer for each attempt costs more than everything else about its timeout, and hardly any of them ever
rings. So attempts whose time is over within the same twentieth of a second share one.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextvars import copy_context

from taskserver.worker.attempt import Attempt

PER_SECOND = 20
"""Timers in a second, at most; an attempt ends up to a twentieth of a second late."""


class Deadlines:
    """Calls ``over`` with each attempt whose time is over and that has not been discarded."""

    def __init__(self, over: Callable[[Attempt], None]) -> None:
        self._over = over
        self._due: dict[int, set[Attempt]] = {}
        self._context = copy_context()  # a timer that took the attempt's own would keep it until it rings

    def add(self, attempt: Attempt, seconds: float) -> None:
        """Give an attempt this many seconds from now."""
        attempt.deadline = time.monotonic() + seconds
        tick = math.ceil(attempt.deadline * PER_SECOND)
        due = self._due.get(tick)
        if due is None:
            due = self._due[tick] = set()
            delay = tick / PER_SECOND - time.monotonic()
            asyncio.get_running_loop().call_later(delay, self._ring, tick, context=self._context)
        due.add(attempt)

    def discard(self, attempt: Attempt) -> None:
        """Forget an attempt that has ended; harmless if it had no deadline."""
        if attempt.deadline is not None and (due := self._due.get(math.ceil(attempt.deadline * PER_SECOND))):
            due.discard(attempt)

    def _ring(self, tick: int) -> None:
        for attempt in self._due.pop(tick):
            self._over(attempt)
