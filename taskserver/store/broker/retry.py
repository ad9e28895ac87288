"""Asking a broker again that did not answer.

A command whose answer was lost may have been carried out, and is carried out twice if it is sent again. So only those
who know that this does no harm ask for it; the client library never retries.
"""

from __future__ import annotations

import asyncio
import time

from taskserver.domain.retry import backoff

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0


class Retries:
    """The retries of one call that was not answered.

    There is at least one, however long the first attempt took: to notice that a connection has died may take longer
    than the patience.

    Args:
        patience: Seconds after which there are no more retries; 0 for none at all.
        started: When the first attempt began, by ``time.monotonic``.
    """

    def __init__(self, patience: float, started: float) -> None:
        self._deadline = started + patience
        self._last = not patience
        self._failures = 0

    async def pause(self) -> bool:
        """Wait before the next attempt, with jittered back-off; False if there is none."""
        if self._last:
            return False
        self._failures += 1
        await asyncio.sleep(backoff(self._failures, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))
        self._last = time.monotonic() > self._deadline
        return True
