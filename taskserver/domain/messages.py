"""Messages: what producers send, how it is packed, and what it may cost to read.

A message is a msgspec struct. It is sent inside an *envelope*, a MessagePack array whose first element is the message
type's tag and whose second is the message as a map. Readers ignore fields that they do not know, and every field added
later has a default, so that old and new workers can share a queue. Which class belongs to a tag is decided by the
worker's own list of consumers, never by the message.

What a message may cost to decode is limited. Ten megabytes of empty arrays are a small message, but become 700 MB of
Python objects. So the size is limited first. Then large messages are walked once, without building anything, to limit
their depth and number of elements. Small ones are not walked: their size limits what they can become (at most about 70
bytes of objects for each byte).
"""

from __future__ import annotations

import hashlib
import struct
from contextlib import suppress
from typing import Annotated, Any, ClassVar, Self

import msgspec

from taskserver.domain.signing import SEALED, without_seal
from taskserver.errors import MessageInvalid, MessageTooLarge

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64
MAX_ELEMENTS = 200_000
WALKED_FROM = 32 * 1024

MAX_TIMEOUT = 1e9
"""In seconds. The limit also keeps out values such as NaN, which no timer could work with."""


class BaseMessage(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Base class of every message. Subclass it with typed fields; give fields that you add later a default.

    ::

        class SendReport(BaseMessage):
            address: str
            pages: list[int] = []
    """

    message_type: ClassVar[str] = "BaseMessage"

    def __init_subclass__(cls, **options: Any) -> None:
        """Name the type on the wire: the class's own name, unless it sets ``message_type`` itself."""
        super().__init_subclass__(**options)
        if "message_type" not in cls.__dict__:
            cls.message_type = cls.__name__


class ToolExecutionMessage(BaseMessage):
    """Runs a tool by name.

    Attributes:
        tool_name: Name of a tool that the worker has loaded.
        tool_args: Its arguments by name.
        context_data: Data of the agent's own; not read by the queue.
        agent_id: The agent that called the tool.
    """

    tool_name: str
    tool_args: dict[str, Any] = {}
    context_data: dict[str, Any] = {}
    agent_id: str | None = None


class Envelope(msgspec.Struct, array_like=True, omit_defaults=True):
    """A packed message and its metadata.

    New fields are appended, with a default.

    Attributes:
        type: Tag of the message's type.
        body: The message itself, still packed.
        submitted_ms: When it was submitted, in milliseconds since 1970 by the submitter's clock.
        timeout: Maximum seconds for one attempt; None leaves it to the tool.
        idempotency_key: As given at submit.
        session_id: As given at submit.
        tags: As given at submit.
        secrets: Names of fields whose values are masked, besides those whose names look secret.
    """

    type: str
    body: msgspec.Raw
    submitted_ms: int = 0
    timeout: Annotated[float, msgspec.Meta(gt=0, le=MAX_TIMEOUT)] | None = None
    idempotency_key: str | None = None
    session_id: str | None = None
    tags: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()

    @classmethod
    def of(cls, message: BaseMessage, body: bytes, **metadata: Any) -> Self:
        """The envelope for ``message``, whose packed form is ``body``."""
        return cls(message.message_type, msgspec.Raw(body), **metadata)


class JobSummary(msgspec.Struct, array_like=True, omit_defaults=True):
    """What is kept of the message of a job that succeeded: enough to find the job and to know what it was.

    Attributes:
        tool: Name of its tool, or the tag of its message's type.
        submitted_ms: As in the envelope.
        idempotency_key: As given at submit.
        session_id: As given at submit.
        tags: As given at submit.
    """

    tool: str
    submitted_ms: int = 0
    idempotency_key: str | None = None
    session_id: str | None = None
    tags: tuple[str, ...] = ()


SUMMARY_BYTES = 64
"""Maximum packed size: more would cost the broker as much memory as the whole message."""
LONG_BYTES = 4096
"""A longer message has a summary beside it from the beginning, so that lists of jobs need not read it."""

_encoder = msgspec.msgpack.Encoder()
_ordering_encoder = msgspec.msgpack.Encoder(order="deterministic")
_envelope_decoder = msgspec.msgpack.Decoder(Envelope)


def pack(envelope: Envelope, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes to be sent to the broker.

    Raises:
        MessageTooLarge: if there are more than the limits allow.
    """
    data = _encoder.encode(envelope)
    check_cost(data, max_bytes=max_bytes)
    return data


def digest(message_type: str, body: bytes) -> str:
    """The same text for the same type and fields of a packed message, in whatever order the fields were given."""
    with suppress(TypeError, msgspec.MsgspecError):  # keys that are not strings cannot be ordered
        body = _ordering_encoder.encode(msgspec.msgpack.decode(body))
    return hashlib.blake2b(message_type.encode() + b"\0" + body, digest_size=8).hexdigest()


def summary_beside(envelope: Envelope, message: BaseMessage, size: int) -> bytes:
    """The packed summary that is stored beside a packed message of ``size`` bytes; empty for none."""
    if size <= LONG_BYTES:
        return b""
    tool = message.tool_name if isinstance(message, ToolExecutionMessage) else envelope.type
    return summarize(envelope, tool, LONG_BYTES)


def summarize(envelope: Envelope, tool: str, max_bytes: int = SUMMARY_BYTES) -> bytes:
    """The packed summary of a message, which replaces it when its job has succeeded.

    It is empty if it would be longer than ``max_bytes``; then the message is kept, or read, as a whole.
    """
    summary = _encoder.encode(
        JobSummary(tool, envelope.submitted_ms, envelope.idempotency_key, envelope.session_id, envelope.tags)
    )
    return summary if len(summary) <= max_bytes else b""


def unpack(data: bytes) -> Envelope:
    """Read an envelope from untrusted bytes; a seal in front of it is skipped.

    Raises:
        MessageTooLarge: if it would cost too much to decode.
        MessageInvalid: if it is not an envelope.
    """
    if data[:1] == SEALED:
        data = without_seal(data)
    check_cost(data)
    try:
        return _envelope_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MessageInvalid(f"not a taskserver message: {error}") from None


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
