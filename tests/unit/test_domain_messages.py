"""Messages: packed, tolerant of other versions, and never trusted."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskserver.domain.messages import MAX_BYTES, BaseMessage, Envelope, ToolExecutionMessage, pack, unpack
from taskserver.errors import MessageInvalid, MessageTooLarge

encode = msgspec.msgpack.encode


class Old(BaseMessage):
    message_type = "Report"
    address: str


class New(BaseMessage):
    message_type = "Report"
    address: str
    pages: list[int] = []  # noqa: RUF012 - msgspec copies it
    colour: str = "red"


def test_a_message_type_has_its_class_name_unless_it_sets_another() -> None:
    assert ToolExecutionMessage.message_type == "ToolExecutionMessage"
    assert Old.message_type == New.message_type == "Report"

    class Child(New):
        pass

    assert Child.message_type == "Child"


def test_new_fields_are_ignored_by_old_readers_and_defaulted_by_new_ones() -> None:
    assert msgspec.msgpack.decode(encode(New(address="a", pages=[1], colour="blue")), type=Old) == Old(address="a")
    assert msgspec.msgpack.decode(encode(Old(address="a")), type=New) == New(address="a")


def test_defaults_take_no_space() -> None:
    assert encode(New(address="a")) == encode({"address": "a"})


def test_a_list_default_is_not_shared() -> None:
    one, other = New(address="a"), New(address="b")
    one.pages.append(1)
    assert other.pages == []


envelopes = st.builds(
    lambda body, **about: Envelope.of(New(address="a"), encode(body), **about),
    st.dictionaries(st.text(), st.integers(0, 9) | st.text(), max_size=4),
    submitted_ms=st.integers(0, 2**53),
    timeout=st.none() | st.floats(0.001, 1e6),
    idempotency_key=st.none() | st.text(),
    session_id=st.none() | st.text(),
    tags=st.lists(st.text(), max_size=3).map(tuple),
)


@given(envelopes)
def test_an_envelope_comes_back_as_it_was_packed(envelope: Envelope) -> None:
    again = unpack(pack(envelope))
    assert bytes(again.body) == bytes(envelope.body)
    again.body = envelope.body
    assert again == envelope


def test_envelopes_of_other_versions_are_read() -> None:
    older = unpack(encode(["Report", {"address": "a"}]))
    assert (older.type, older.submitted_ms, older.timeout, older.tags) == ("Report", 0, None, ())
    newer = unpack(encode(["Report", {}, 5, None, None, None, ["red"], ["pin"], "a field of the future", 9]))
    assert (newer.submitted_ms, newer.tags, newer.secrets) == (5, ("red",), ("pin",))


GARBAGE: list[bytes] = [
    b"",
    b"\xc1",
    b"\x90",
    encode("Report"),
    encode(["Report"]),
    encode([1, {}]),
    encode({"type": "Report"}),
    encode(["Report", {}, "yesterday"]),
    encode(["Report", {}, 0, None, None, None, "red"]),
    b"\x92\xa2\xff\xfe\x80",
    b"\x92\xa1x\xdd\xff\xff\xff\xff",
    b"\x92\xa1x" + b"\x91" * 30_000,
    b"\x92\xa1x" + b"\x91" * 30_000 + b"\x90",
    encode(["Report", {}]) + b"\x00",
]


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_invalid(data: bytes) -> None:
    with pytest.raises(MessageInvalid):
        unpack(data)


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), -1.0, 0.0])
def test_a_timeout_that_no_timer_can_hold_is_invalid(timeout: float) -> None:
    with pytest.raises(MessageInvalid):
        unpack(encode(["Report", {}, 0, timeout]))


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        unpack(data)
    except (MessageInvalid, MessageTooLarge):
        return


def test_too_large_a_message_is_refused_on_both_sides() -> None:
    envelope = Envelope.of(New(address="a"), encode("x" * MAX_BYTES))
    with pytest.raises(MessageTooLarge):
        pack(envelope)
    with pytest.raises(MessageTooLarge):
        unpack(encode(envelope))
    with pytest.raises(MessageTooLarge):
        pack(Envelope.of(New(address="a"), encode("x" * 100)), max_bytes=50)


def test_tool_messages_contain_plain_data() -> None:
    arguments: dict[str, Any] = {"url": "x", "deep": [{"n": None}]}
    message = ToolExecutionMessage(tool_name="fetch", tool_args=arguments, agent_id="a1")
    assert msgspec.msgpack.decode(encode(message), type=ToolExecutionMessage) == message
