"""Messages: what producers send, and how it is packed.

A message is a msgspec struct. It is sent inside an *envelope*, a MessagePack array whose first element is the message
type's tag and whose second is the message as a map. Readers ignore fields that they do not know, and every field added
later has a default, so that old and new workers can share a queue. Which class belongs to a tag is decided by the
worker's own list of consumers, never by the message.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

import msgspec

from taskserver.domain.limits import MAX_BYTES, check_cost
from taskserver.domain.signing import SEALED, without_seal
from taskserver.errors import MessageInvalid

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

_encoder = msgspec.msgpack.Encoder()
_envelope_decoder = msgspec.msgpack.Decoder(Envelope)


def pack(envelope: Envelope, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes to be sent to the broker.

    Raises:
        MessageTooLarge: if there are more than the limits allow.
    """
    data = _encoder.encode(envelope)
    check_cost(data, max_bytes=max_bytes)
    return data


def summarize(envelope: Envelope, tool: str) -> bytes:
    """The packed summary of a message whose job has succeeded; empty if it is too long, to keep the whole message."""
    summary = _encoder.encode(
        JobSummary(tool, envelope.submitted_ms, envelope.idempotency_key, envelope.session_id, envelope.tags)
    )
    return summary if len(summary) <= SUMMARY_BYTES else b""


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
