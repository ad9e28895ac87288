"""Checks the options of tools and consumers."""

from __future__ import annotations

import math
from typing import Any

from taskserver.domain.retry import RetryPolicy
from taskserver.domain.sizes import parse_size
from taskserver.errors import ConfigError, ToolInvalid

DEFAULT_TIMEOUT = 600.0
"""Maximum seconds for one attempt."""
LEAST_MEMORY = 64 * 10**6
"""Bytes of memory that a tool's process needs before the tool does anything."""


def check_timeout(location: str, timeout: Any) -> float | None:
    """Return the timeout in seconds, or None for no limit.

    Raises:
        ToolInvalid: if it is neither None nor a positive finite number.
    """
    if timeout is None:
        return None
    if not _is_number(timeout) or timeout <= 0:
        raise ToolInvalid(
            f"{location}: timeout must be a positive number of seconds, or None for no limit; not {timeout!r}"
        )
    return float(timeout)


def retry_policy(location: str, max_retries: Any, delay: Any, cap: Any, exponential: Any) -> RetryPolicy:
    """The retry policy for these options.

    Raises:
        ToolInvalid: if the number of retries is not a non-negative integer, or a time not a non-negative number.
    """
    if not isinstance(max_retries, int) or isinstance(max_retries, bool) or max_retries < 0:
        raise ToolInvalid(f"{location}: max_retries must be a non-negative integer, not {max_retries!r}")
    for option, seconds in (("retry_delay", delay), ("retry_cap", cap)):
        if not _is_number(seconds) or seconds < 0:
            raise ToolInvalid(f"{location}: {option} must be a non-negative number of seconds, not {seconds!r}")
    return RetryPolicy(max_retries=max_retries, delay=float(delay), cap=float(cap), exponential=bool(exponential))


def memory_limit(value: Any, runs_in: str | None) -> int | None:
    """Maximum memory of a tool's process in bytes; None for no limit.

    Raises:
        ConfigError: if it is not a size, is less than an interpreter needs, or the tool does not run in a process.
    """
    if value is None:
        return None
    if runs_in != "process":
        raise ConfigError("max_memory requires runs_in='process': only a process has memory of its own")
    try:
        return parse_size(value, LEAST_MEMORY)
    except ConfigError as error:
        raise ConfigError(f"max_memory: {error}") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
