"""Durations as people write them."""

from __future__ import annotations

import re

from taskserver.errors import ConfigError

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|m|h|d)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def seconds(text: str) -> float:
    """Read a number of seconds, or a number with a unit: ``90``, ``1.5s``, ``250ms``, ``5m``, ``2h``, ``1d``.

    Raises:
        ConfigError: if it is neither.
    """
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise ConfigError(
            f"{text!r} is not a duration: write seconds, or a number with a unit such as 250ms, 90s, 5m, 2h or 1d"
        )
    return float(found[1]) * _UNITS[found[2] or "s"]
