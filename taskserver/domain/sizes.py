"""Amounts of memory as people write them: ``512MB``."""

from __future__ import annotations

import re

from taskserver.domain.names import did_you_mean
from taskserver.errors import ConfigError

UNITS = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
"""Bytes in each unit; IEC 80000-13 distinguishes 1000 (MB) from 1024 (MiB)."""

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")


def parse_size(value: object, least: int = 0) -> int:
    """Read a number of bytes, or text such as ``512MB`` or ``1.5 GiB``; case does not matter.

    Raises:
        ConfigError: if it is not a size, or less than ``least`` bytes.
    """
    size = _parsed(value)
    if size < least:
        raise ConfigError(f"{value!r} is too small: it must be at least {size_text(least)}")
    return size


def _parsed(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = _SIZE.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if found is None:
        raise ConfigError(f"{value!r} is not a size: write bytes, or a number with a unit such as 512MB, 1.5GB or 2GiB")
    if (factor := UNITS.get(found[2] or "b")) is None:
        hint = did_you_mean(found[2], UNITS) or "; use B, KB, MB, GB, TB, or KiB, MiB, GiB, TiB"
        raise ConfigError(f"{value!r} is not a size: unknown unit {found[2]!r}{hint}")
    return round(float(found[1]) * factor)


def size_text(count: int) -> str:
    """A number of bytes in a readable unit: ``512 MB``."""
    for unit in ("TB", "GB", "MB", "KB"):
        if count >= UNITS[unit.lower()]:
            return f"{count / UNITS[unit.lower()]:.3g} {unit}".replace("e+03", "000")
    return f"{count} B"
