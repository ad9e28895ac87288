"""Bucket bounds of the duration histograms."""

from __future__ import annotations

import math
from itertools import pairwise

from taskserver.errors import ConfigError

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""Inclusive upper bounds in seconds: from a no-op to an hour."""
MOST_BUCKETS = 50


def parse_buckets(text: str) -> tuple[float, ...]:
    """Read bounds from text: rising numbers of seconds, separated by commas.

    Raises:
        ConfigError: if they are invalid.
    """
    try:
        bounds = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError("write seconds separated by commas, such as 0.01,0.1,1,10") from None
    rising = all(one < other for one, other in pairwise(bounds))
    if not (rising and bounds[0] > 0 and math.isfinite(bounds[-1]) and len(bounds) <= MOST_BUCKETS):
        raise ConfigError(f"write at most {MOST_BUCKETS} positive numbers of seconds in rising order")
    return bounds
