"""Parsing untrusted data: what anybody with access to the broker may have written. Bounded in cost, never raising.

What cannot be parsed is replaced or left out: one such record must not hide the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from taskserver.domain.messages import check_cost
from taskserver.domain.partitions import check_partition_name
from taskserver.errors import ConfigError

T = TypeVar("T")

RECORD_BYTES = 512 * 1024
"""The largest record that we write: an error, a history record, a report or a worker's snapshot."""
LAST_MS = 253_402_300_799_000
"""The end of the year 9999, the last that a date can show."""


def unpacked(decoder: msgspec.msgpack.Decoder[T], data: bytes | None) -> T | None:
    """A packed record; None if there is none, or it is not valid."""
    try:
        if not data:
            return None
        check_cost(data, max_bytes=RECORD_BYTES)
        return decoder.decode(data)
    except Exception:  # noqa: BLE001 - too large, too deep, not UTF-8, of another type: whatever it is, it is not valid
        return None


def number(fields: Mapping[bytes, bytes], name: bytes) -> int | None:
    """A field with a whole number from 0 to ``LAST_MS``; None for anything else."""
    digits = fields.get(name, b"")
    found = int(digits) if digits.isdigit() and len(digits) <= 16 else None
    return found if found is not None and found <= LAST_MS else None


def fraction(progress: float | None) -> float | None:
    """A progress from 0 to 1; None for anything else."""
    return progress if progress is not None and 0 <= progress <= 1 else None


def is_queue_name(name: str) -> bool:
    """Whether this is a valid name of a queue or partition."""
    try:
        check_partition_name(name)
    except ConfigError:
        return False
    return True
