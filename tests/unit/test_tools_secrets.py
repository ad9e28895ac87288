"""Arguments that are secret by their type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, NewType, TypedDict

import msgspec
import pytest
from pydantic import BaseModel, Field, SecretBytes, SecretStr

from taskserver import ArgumentsInvalid, BaseMessage, tool
from taskserver.client.options import Declaration, prepare
from taskserver.domain.messages import Envelope, ToolExecutionMessage, unpack
from taskserver.errors import ResultInvalid, ToolInvalid
from taskserver.tools import Tool, check, codec, describe, parse_key_values, tool_of

Pin = NewType("Pin", SecretStr)


class Login(BaseModel):
    user: str
    code: SecretStr = Field(alias="theCode")


class Door(msgspec.Struct):
    pin: SecretStr
    floor: int = 0


class Row(msgspec.Struct, array_like=True):
    pin: SecretStr


class Pair(NamedTuple):
    left: SecretStr
    right: int


class Key(TypedDict):
    tooth: SecretBytes


@dataclass
class House:
    door: Door
    nested: House | None = None


def known(target: object) -> Tool:
    found = tool_of(target)
    assert found is not None
    return found


OPEN = SecretBytes(b"open")


@tool
async def enter(pin: SecretStr, word: SecretBytes = OPEN, tries: int = 3) -> str:
    return pin.get_secret_value() + word.get_secret_value().decode()


def test_a_tool_gets_secrets_that_do_not_show_themselves() -> None:
    arguments: Any = check(known(enter), {"pin": "1234", "word": "sesame"})
    assert arguments.pin == SecretStr("1234")
    assert arguments.word == SecretBytes(b"sesame")
    assert "1234" not in repr(arguments)
    assert check(known(enter), {"pin": SecretStr("1234")}) == check(known(enter), {"pin": "1234"})


def test_a_wrong_secret_is_refused_without_being_repeated() -> None:
    with pytest.raises(ArgumentsInvalid, match="argument 'pin': expected str, got int") as caught:
        check(known(enter), {"pin": 12345678})
    assert "12345678" not in str(caught.value)


def test_agents_can_see_that_it_is_a_secret() -> None:
    schema = describe(known(enter))["parameters"]["properties"]
    assert schema["pin"] == {"type": "string", "format": "password", "writeOnly": True}
    assert "open" not in str(schema)


def test_the_command_line_reads_it_as_text() -> None:
    assert parse_key_values(known(enter), ["pin=0042"]) == {"pin": "0042"}


@pytest.mark.parametrize(
    ("hint", "names"),
    [
        (int, set()),
        (SecretStr, {"it"}),
        (SecretStr | None, {"it"}),
        (Annotated[SecretStr, msgspec.Meta(description="x")], {"it"}),
        (list[SecretStr], {"it"}),
        (dict[str, list[SecretBytes]], {"it"}),
        (Pin, {"it"}),
        (Row, {"it"}),
        (Pair, {"it"}),
        (Door, {"pin"}),
        (list[Door | None], {"pin"}),
        (House, {"pin"}),
        (Login, {"code", "theCode"}),
        (dict[str, Login], {"code", "theCode"}),
        (Key, {"tooth"}),
        (dict[str, Any], set()),
    ],
)
def test_fields_are_known_by_their_types(hint: Any, names: set[str]) -> None:
    async def take(it: Any) -> None: ...

    take.__annotations__["it"] = hint
    assert known(tool(take)).secret_fields == names


def sent(message: BaseMessage, declared: frozenset[str] = frozenset()) -> tuple[Envelope, Any]:
    job = prepare(message, {}, Declaration("note", "q", secrets=declared), lambda: "0" * 24, 10_000).job
    envelope = unpack(job.payload)
    return envelope, msgspec.msgpack.decode(envelope.body)


def test_secrets_are_sent_unmasked_with_the_names_of_their_fields() -> None:
    arguments = {
        "a": SecretStr("one"),
        "b": [{"c": SecretBytes(b"two")}, "plain"],
        "d": Login(user="ada", theCode=SecretStr("three")),
        "e": House(Door(SecretStr("four"), 2)),
    }
    envelope, body = sent(ToolExecutionMessage(tool_name="enter", tool_args=arguments))
    assert body["tool_args"] == {
        "a": "one",
        "b": [{"c": b"two"}, "plain"],
        "d": {"user": "ada", "theCode": "three"},
        "e": {"door": {"pin": "four", "floor": 2}, "nested": None},
    }
    assert envelope.secrets == ("a", "c", "pin", "theCode")


def test_without_secrets_no_names_are_sent() -> None:
    envelope, _ = sent(ToolExecutionMessage(tool_name="enter", tool_args={"a": "one"}))
    assert envelope.secrets == ()


def test_what_the_tool_declares_is_sent_too() -> None:
    envelope, _ = sent(ToolExecutionMessage(tool_name="enter", tool_args={"pin": "1"}), known(enter).secret_fields)
    assert envelope.secrets == ("pin", "word")


def test_a_secret_may_be_given_where_the_tool_takes_text() -> None:
    @tool
    async def plain(url: str, deep: list[dict[str, str]] = []) -> None: ...  # noqa: B006

    check(known(plain), {"url": SecretStr("x"), "deep": [{"a": SecretStr("y")}]})
    with pytest.raises(ArgumentsInvalid, match="argument 'deep': expected array, got str"):
        check(known(plain), {"url": SecretStr("x"), "deep": SecretStr("y")})


def test_an_error_about_arguments_does_not_repeat_secrets() -> None:
    @tool
    async def fussy(it: dict[str, int], login: House) -> None: ...

    with pytest.raises(ArgumentsInvalid) as caught:
        check(known(fussy), {"it": {"password": "hunter22"}, "login": {"door": {"pin": "56789", "floor": "56789"}}})
    assert "hunter22" not in str(caught.value)
    assert "56789" not in str(caught.value)


class Grumpy(msgspec.Struct):
    pin: SecretStr

    def __post_init__(self) -> None:
        raise ValueError(f"{self.pin.get_secret_value()} is no good pin")


def test_nor_does_an_error_that_a_users_type_raises() -> None:
    @tool
    async def grumble(it: Grumpy) -> None: ...

    with pytest.raises(ArgumentsInvalid, match=r"\[secret\] is no good pin"):
        check(known(grumble), {"it": {"pin": "56789"}})


@pytest.mark.parametrize("result", [SecretStr("x"), [SecretBytes(b"x")], Login(user="a", theCode=SecretStr("x"))])
def test_a_secret_cannot_be_a_result(result: Any) -> None:
    with pytest.raises(
        ResultInvalid, match=r"result contains a Secret\w+( at \S+)?, but is stored and shown unmasked: leave it out"
    ):
        codec.encode(result)


def test_a_tool_that_returns_a_secret_is_refused() -> None:
    @tool
    async def tell() -> SecretStr:
        return SecretStr("x")

    with pytest.raises(ToolInvalid, match="the result is a SecretStr, but results are stored and shown unmasked"):
        _ = known(tell).arguments
