"""Reading what anybody with access to the broker may have written: it costs no more than ours does, and raises nothing.

What cannot be read is told by a placeholder or left out: one such record must not hide the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from taskserver.domain.limits import check_cost
from taskserver.domain.partitions import check_partition_name
from taskserver.errors import ConfigError

T = TypeVar("T")

RECORD_BYTES = 512 * 1024
"""The largest record of ours: an error, a line of history, a report, or what a worker says of itself."""
LAST_MS = 253_402_300_799_000
"""The end of the year 9999, which is as far as a date can be shown."""


def unpacked(decoder: msgspec.msgpack.Decoder[T], data: bytes | None) -> T | None:
    """A packed record; None if there is none, or it is not one of ours."""
    try:
        if not data:
            return None
        check_cost(data, max_bytes=RECORD_BYTES)
        return decoder.decode(data)
    except Exception:  # noqa: BLE001 - too large, too deep, not UTF-8, not of this type: whatever it is, it is not ours
        return None


def number(fields: Mapping[bytes, bytes], name: bytes) -> int | None:
    """A whole number that may be one of ours; None for anything else."""
    digits = fields.get(name, b"")
    found = int(digits) if digits.isdigit() and len(digits) <= 16 else None
    return found if found is not None and found <= LAST_MS else None


def fraction(progress: float | None) -> float | None:
    """A progress from 0 to 1; None for anything else."""
    return progress if progress is not None and 0 <= progress <= 1 else None


def is_queue_name(name: str) -> bool:
    """Whether a queue, or a partition of one, may be called so."""
    try:
        check_partition_name(name)
    except ConfigError:
        return False
    return True
