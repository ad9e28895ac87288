"""Reading the answers of scripts and pipelines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from redis.exceptions import ResponseError


def grouped(flat: Sequence[Any], size: int) -> Iterator[tuple[Any, ...]]:
    """The values of a flat array, ``size`` at a time."""
    values = iter(flat)
    return zip(*[values] * size, strict=True)


def decode_pairs(flat: Sequence[bytes]) -> Iterator[tuple[str, str]]:
    """The same for pairs of strings."""
    return ((decode(first), decode(second)) for first, second in grouped(flat, 2))


def decode(raw: bytes) -> str:
    """Bytes from the broker as a string; what is not UTF-8, since somebody wrote it by hand, becomes escapes."""
    return raw.decode("utf-8", "backslashreplace")


def milliseconds_of(stream_id: bytes) -> int:
    """The time in a stream entry's id, in milliseconds."""
    return int(stream_id.partition(b"-")[0])


def none_if_missing(answers: Sequence[Any]) -> list[Any]:
    """A pipeline's answers, with None where a key or group is missing or of the wrong type; raises other errors."""
    return [_none_if_missing(answer) for answer in answers]


def _none_if_missing(answer: Any) -> Any:
    if not isinstance(answer, Exception):
        return answer
    reason = str(answer)
    if isinstance(answer, ResponseError) and (reason.startswith(("WRONGTYPE", "NOGROUP")) or "no such key" in reason):
        return None
    raise answer
