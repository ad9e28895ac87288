"""Limits on what a message may cost to decode.

Ten megabytes of empty arrays are a small message, but become 700 MB of Python objects. So the size is limited first.
Then large messages are walked once, without building anything, to limit their depth and number of elements. Small ones
are not walked: their size limits what they can become (at most about 70 bytes of objects for each byte).
"""

from __future__ import annotations

import struct

from taskserver.errors import MessageInvalid, MessageTooLarge

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64
MAX_ELEMENTS = 200_000
WALKED_FROM = 32 * 1024

_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8,
          0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8, 0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}  # fmt: skip
_SIZED = {0xC4: (">B", 0), 0xC5: (">H", 0), 0xC6: (">I", 0), 0xC7: (">B", 1), 0xC8: (">H", 1), 0xC9: (">I", 1),
          0xD9: (">B", 0), 0xDA: (">H", 0), 0xDB: (">I", 0)}  # fmt: skip
_CONTAINERS = {0xDC: (">H", 1), 0xDD: (">I", 1), 0xDE: (">H", 2), 0xDF: (">I", 2)}


def check_cost(data: bytes, what: str = "message", max_bytes: int = MAX_BYTES) -> None:
    """Refuse MessagePack data that would cost too much to decode.

    Args:
        data: Untrusted MessagePack bytes.
        what: What to call the data in an error message.
        max_bytes: Maximum size in bytes.

    Raises:
        MessageTooLarge: for too many bytes, elements or levels.
        MessageInvalid: if it is incomplete or not MessagePack (noticed only in data large enough to be walked).
    """
    if len(data) > max_bytes:
        raise MessageTooLarge(
            f"{what} is too large: {len(data):,} bytes, and at most {max_bytes:,} are allowed; "
            "pass a path or URL instead of the data"
        )
    if len(data) >= WALKED_FROM:
        try:
            _walk(data, what)
        except (IndexError, struct.error):
            raise MessageInvalid(f"{what} is not valid MessagePack: it ends too early") from None


def _walk(data: bytes, what: str) -> None:
    """Step over every element; ``open_`` holds, for each open container, how many elements it still expects."""
    position, elements, open_ = 0, 0, [1]
    while open_:
        if open_[-1] == 0:
            open_.pop()
            continue
        open_[-1] -= 1
        elements += 1
        if elements > MAX_ELEMENTS:
            raise MessageTooLarge(f"{what} has too many elements: at most {MAX_ELEMENTS:,} are allowed")
        position, children = _step(data, position, what)
        if children:
            if len(open_) > MAX_DEPTH:
                raise MessageTooLarge(f"{what} is nested too deeply: at most {MAX_DEPTH} levels are allowed")
            open_.append(children)
    if position > len(data):
        raise IndexError


def _step(data: bytes, position: int, what: str) -> tuple[int, int]:
    """The position after the element's own bytes, and how many elements it contains. Follows the format's spec."""
    head = data[position]
    position += 1
    if head <= 0x7F or head >= 0xE0:
        return position, 0
    if head <= 0x8F:
        return position, 2 * (head & 0x0F)
    if head <= 0x9F:
        return position, head & 0x0F
    if head <= 0xBF:
        return position + (head & 0x1F), 0
    if head in _FIXED:
        return position + _FIXED[head], 0
    if head in _SIZED:
        form, extra = _SIZED[head]
        (size,) = struct.unpack_from(form, data, position)
        return position + struct.calcsize(form) + extra + size, 0
    if head in _CONTAINERS:
        form, per = _CONTAINERS[head]
        (count,) = struct.unpack_from(form, data, position)
        return position + struct.calcsize(form), count * per
    raise MessageInvalid(f"{what} is not valid MessagePack: unknown type {head:#x}")
