"""Checks of what a tool or consumer says about how it is run."""

from __future__ import annotations

import math
from typing import Any

from taskserver.domain.retry import RetryPolicy
from taskserver.domain.sizes import parse_size
from taskserver.errors import ConfigError, ToolInvalid

DEFAULT_TIMEOUT = 600.0
"""Seconds that one attempt may take."""
LEAST_MEMORY = 64 * 10**6
"""Bytes that a tool's process takes before the tool does anything."""


def check_timeout(place: str, timeout: Any) -> float | None:
    """Return the timeout in seconds, None for no limit.

    Raises:
        ToolInvalid: if it is neither None nor a finite number above zero.
    """
    if timeout is None:
        return None
    if not _is_number(timeout) or timeout <= 0:
        raise ToolInvalid(f"{place}: timeout must be seconds above zero, or None for no limit, not {timeout!r}")
    return float(timeout)


def retry_policy(place: str, max_retries: Any, delay: Any, cap: Any, exponential: Any) -> RetryPolicy:
    """The policy that these options describe.

    Raises:
        ToolInvalid: if the number of retries is no whole number from zero, or a time no finite number from zero.
    """
    if not isinstance(max_retries, int) or isinstance(max_retries, bool) or max_retries < 0:
        raise ToolInvalid(f"{place}: max_retries must be a whole number from 0, not {max_retries!r}")
    for option, seconds in (("retry_delay", delay), ("retry_cap", cap)):
        if not _is_number(seconds) or seconds < 0:
            raise ToolInvalid(f"{place}: {option} must be seconds from 0, not {seconds!r}")
    return RetryPolicy(max_retries=max_retries, delay=float(delay), cap=float(cap), exponential=bool(exponential))


def memory_limit(value: Any, runs_in: str | None) -> int | None:
    """The bytes that a tool's process may hold; None for no limit.

    Raises:
        ConfigError: if it is no size, less than an interpreter takes, or the tool does not run in a process.
    """
    if value is None:
        return None
    if runs_in != "process":
        raise ConfigError("max_memory needs runs_in='process': only a process has memory of its own")
    try:
        return parse_size(value, LEAST_MEMORY)
    except ConfigError as error:
        raise ConfigError(f"max_memory={error}") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
