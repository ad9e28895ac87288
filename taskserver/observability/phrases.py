"""Durations, times, sizes and counts for people."""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import datetime


def duration(seconds: float, *, roughly: bool = False) -> str:
    """A duration: ``250 ms``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``, ``4 d 1 h``; with ``roughly``, in one unit."""
    if seconds < 10 and seconds != round(seconds):
        return f"{max(0.0, seconds) * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, smaller, part in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest and not roughly else "")
    return f"{whole} s"


def age(at: float | None, *, roughly: bool = False) -> str:
    """How long ago a time was, or how long until it comes, in whole seconds; empty if there is none."""
    if at is None:
        return ""
    ago = round(time.time() - at)
    if ago == 0:
        return "now"
    span = duration(abs(ago), roughly=roughly)
    return f"{span} ago" if ago > 0 else f"in {span}"


def moment(at: float | None) -> str:
    """A time by the local clock, with its age; empty if there is none."""
    if at is None:
        return ""
    return f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M:%S} ({age(at)})"


def size(number: int) -> str:
    """A number of bytes in a readable unit."""
    amount = float(number)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.4g} {unit}"
        amount /= 1024
    return f"{amount:.4g} GiB"


def count(number: int, what: str, several: str = "") -> str:
    """``1 job``, ``2 jobs``."""
    return f"{number:,} {what if number == 1 else several or what + 's'}"


def listed(what: str, names: Collection[str]) -> str:
    """``queue mail``, ``queues fast, mail``, ``queues none``."""
    return f"{what if len(names) == 1 else what + 's'} {', '.join(names) or 'none'}"
