"""When what failed is tried again: a job's attempt, and a call to a broker that does not answer.

Exponential backoff with full jitter: before attempt ``n + 1`` a job waits a random time between zero and
``base * 2 ** (n - 1)``, at most ``cap``. Spreading the waits over the whole range is what keeps a thousand jobs
that failed together from coming back together (M. Brooker, "Exponential Backoff And Jitter", AWS, 2015). Calls wait
half of their bound at least, and only the rest is random: they must not hammer a broker that comes up.
"""

from __future__ import annotations

import random

import msgspec

DEFAULT_MAX_RETRIES = 3


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a failed attempt is followed by another.

    Attributes:
        max_retries: Attempts after the first; attempts in all are ``1 + max_retries``.
        delay: Seconds that the first wait may last.
        cap: Seconds that any wait may last.
        exponential: Whether the bound doubles with each attempt; otherwise it stays ``delay``.
    """

    max_retries: int = DEFAULT_MAX_RETRIES
    delay: float = 2.0
    cap: float = 300.0
    exponential: bool = True

    @property
    def max_attempts(self) -> int:
        """Attempts in all, the first one counted."""
        return 1 + self.max_retries

    def bound(self, attempt: int) -> float:
        """The longest wait, in seconds, after attempt number ``attempt`` (from 1) failed."""
        factor = 2.0 ** min(attempt - 1, 64) if self.exponential else 1.0
        return min(self.cap, self.delay * factor)

    def wait(self, attempt: int) -> float:
        """A random wait, in seconds, after attempt number ``attempt`` failed."""
        return random.uniform(0.0, self.bound(attempt))  # noqa: S311 - jitter, not a secret


def backoff(failures: int, first: float = 0.1, last: float = 5.0) -> float:
    """Seconds to wait after so many failures in a row, so that two hundred who fail together do not come back together.

    Args:
        failures: How many, from 1.
        first: The longest wait after the first.
        last: The longest wait of all.
    """
    bound = min(last, first * 2.0 ** min(failures - 1, 64))
    return random.uniform(bound / 2, bound)  # noqa: S311 - jitter
