"""When to try again: after a job's attempt has failed, or a call to the broker.

Exponential backoff with full jitter: before attempt ``n + 1`` a job waits a random time between zero and
``delay * 2 ** (n - 1)``, at most ``cap``. Spreading the waits over the whole range keeps a thousand jobs that failed
together from coming back together (M. Brooker, "Exponential Backoff And Jitter", AWS, 2015). Calls wait at least half
of their bound, and only the rest is random: they must not hammer a broker that is starting.
"""

from __future__ import annotations

import random

import msgspec

DEFAULT_MAX_RETRIES = 3


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and when a failed attempt is tried again.

    Attributes:
        max_retries: Maximum number of attempts after the first.
        delay: Maximum seconds for the first wait.
        cap: Maximum seconds for any wait.
        exponential: Whether the maximum doubles with each attempt; otherwise it stays ``delay``.
    """

    max_retries: int = DEFAULT_MAX_RETRIES
    delay: float = 2.0
    cap: float = 300.0
    exponential: bool = True

    def bound(self, attempt: int) -> float:
        """The longest wait, in seconds, after attempt number ``attempt`` (from 1) failed."""
        factor = 2.0 ** min(attempt - 1, 64) if self.exponential else 1.0
        return min(self.cap, self.delay * factor)

    def wait(self, attempt: int) -> float:
        """A random wait, in seconds, after attempt number ``attempt`` failed."""
        return random.uniform(0.0, self.bound(attempt))  # noqa: S311 - jitter, not a secret


def backoff(failures: int, first: float = 0.1, last: float = 5.0) -> float:
    """Seconds to wait after failures in a row, so that two hundred callers that fail together spread out.

    Args:
        failures: Number of failures in a row, from 1.
        first: Longest wait after the first failure.
        last: Longest wait of all.
    """
    bound = min(last, first * 2.0 ** min(failures - 1, 64))
    return random.uniform(bound / 2, bound)  # noqa: S311 - jitter
