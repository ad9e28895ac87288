"""Asking a broker again that did not answer.

A command whose answer was lost may have been carried out, and is carried out twice if it is sent again. So only those
who know that this does no harm ask for it; the client library never retries.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from taskserver.domain.retry import backoff
from taskserver.errors import BrokerUnavailable

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0

T = TypeVar("T")


async def retry_unanswered(attempt: Callable[[], Awaitable[T]], patience: float) -> T:
    """Repeat ``attempt`` with jittered back-off until the broker answers.

    There is at least one retry, however long the first attempt took: to notice that a connection has died may take
    longer than the patience.

    Args:
        attempt: Asks the broker once.
        patience: Seconds after which it is given up; 0 for a single attempt.

    Raises:
        BrokerUnavailable: if the last attempt was not answered either.
    """
    deadline = time.monotonic() + patience
    last = not patience
    failures = 0
    while True:
        try:
            return await attempt()
        except BrokerUnavailable:
            if last:
                raise
        failures += 1
        await asyncio.sleep(backoff(failures, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))
        last = time.monotonic() > deadline
