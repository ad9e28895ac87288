"""Encoding and decoding results, and what is refused in either direction."""

import re
import sys
from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import msgspec
import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_serializer, model_validator

from taskserver.errors import ResultInvalid
from taskserver.tools import decode, encode


class Colour(Enum):
    RED = "red"


class Point(msgspec.Struct):
    x: int


@dataclass
class Box:
    corners: list[Point]


class Person(BaseModel):
    name: str
    born: date | None = None


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    when: date
    number: int


class Aliased(BaseModel):
    kind: str = Field(alias="type")


class Text(str):
    __slots__ = ()


class Count(int): ...


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (None, None),
        (1.5, float),
        ("ä", str),
        (b"\x00", bytes),
        ([1, None], list[int | None]),
        ({1: "a"}, dict[int, str]),
        ({1, 2}, set[int]),
        (frozenset({1}), frozenset[int]),
        ((1, "a"), tuple[int, str]),
        (datetime(2030, 1, 2, tzinfo=UTC), datetime),
        (timedelta(seconds=3), timedelta),
        (Decimal("1.10"), Decimal),
        (UUID(int=5), UUID),
        (Colour.RED, Colour),
        ("a", Literal["a", "b"]),
        (Path("a/b"), Path),
        (Point(1), Point),
        (Box([Point(1)]), Box),
        (Person(name="Ada", born=date(1815, 12, 10)), Person),
        ({"a": [Person(name="Ada")]}, dict[str, list[Person]]),
        (Strict(when=date(2030, 1, 2), number=5), Strict),
        (Aliased(type="x"), Aliased),
        (5, Annotated[int, msgspec.Meta(ge=1)]),
    ],
)
def test_a_value_comes_back_as_it_was(value: Any, type_: Any):
    back = decode(encode(value), type_)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Person(name="Ada"), {"name": "Ada", "born": None}),
        (Box([Point(1)]), {"corners": [{"x": 1}]}),
        (Text("a"), "a"),
        (Count(5), 5),
        (OrderedDict(a=1), {"a": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (deque([1, 2]), [1, 2]),
        (range(3), [0, 1, 2]),
    ],
)
def test_without_a_type_there_is_plain_data(value: Any, plain: Any):
    assert decode(encode(value), Any) == plain


def itself() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (object(), "values of type object are not supported"),
        ([{"a": ValueError("x")}], "values of type ValueError are not supported"),
        (2**70, "an integer of more than 64 bits"),
        ("\ud800", "a lone surrogate"),
        (itself(), "nested too deeply, or contains itself"),
        ("x" * 5_000_000, "at most 4,194,304 are allowed"),
        ([[]] * 300_000, "too many elements: at most 200,000 are allowed"),
    ],
)
def test_what_cannot_be_sent_is_named(value: Any, says: str):
    with pytest.raises(ResultInvalid, match=says):
        encode(value)


@dataclass
class Row:
    score: Any


@pytest.mark.parametrize(
    ("value", "at"),
    [
        ({"rows": [Row(1), Row(2.5), Row({"a b": (1, object())})]}, ".rows[2].score['a b'][1]"),
        ([Person.model_construct(name=object())], "[0].name"),
        ({"n": [1, 2**70]}, ".n[1]"),
        ({"t": {"\ud800": 1}}, ".t in a key"),
        ({"x" * 99: object()}, "[a key of 101 characters]"),
        ([SecretStr("hunter22")], "[0]"),
    ],
)
def test_what_cannot_be_sent_is_told_with_where_it_is(value: Any, at: str):
    with pytest.raises(ResultInvalid) as caught:
        encode(value)
    assert f" at {at}" in str(caught.value)
    assert "hunter22" not in str(caught.value)


class Scalar:
    """A number of a library, as numpy's scalars are."""

    ndim, dtype = 0, SimpleNamespace(kind="f")

    def __init__(self, plain: Any) -> None:
        self.plain = plain

    def item(self) -> Any:
        return self.plain


class Array(Scalar):
    ndim = 1


class Moment(Scalar):
    dtype = SimpleNamespace(kind="M")


@pytest.mark.parametrize("plain", [1.5, 3, True])
def test_numbers_of_other_libraries_are_numbers(plain: Any):
    assert decode(encode({"deep": [Scalar(plain)]}), Any) == {"deep": [plain]}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Array(1), "call its tolist()"),
        (Moment(7), "Moment are not"),
        (Scalar("x"), "Scalar are"),
        (Fraction(1, 3), "Fr"),
    ],
)
def test_what_a_number_would_not_say_is_refused(value: Any, says: str):
    with pytest.raises(ResultInvalid, match=re.escape(says)):
        encode(value)


def test_numpy_itself():
    numpy: Any = pytest.importorskip("numpy")
    scalars = [
        numpy.float64(1.5),
        numpy.float32(1.5),
        numpy.int64(3),
        numpy.uint8(3),
        numpy.bool_(True),
        numpy.str_("x"),
    ]
    assert decode(encode(scalars), Any) == [1.5, 1.5, 3, 3, True, "x"]
    for other in (numpy.zeros(1), numpy.complex64(1), numpy.datetime64(1, "ns")):
        with pytest.raises(ResultInvalid):
            encode(other)


class Touchy(BaseModel):
    @model_validator(mode="after")
    def refuse(self) -> Self:
        raise KeyError("no")

    @model_serializer
    def fail(self) -> Any:
        raise KeyError("no")


def test_whatever_a_type_raises_is_about_the_result():
    with pytest.raises(ResultInvalid, match="result could not be encoded"):
        encode(Touchy.model_construct())
    with pytest.raises(ResultInvalid, match=r"result is not of type .*Touchy"):
        decode(encode({}), Touchy)


def test_the_largest_size_can_be_set():
    assert encode("a" * 10, max_bytes=11)
    with pytest.raises(ResultInvalid, match="report is too large: 12 bytes"):
        encode("a" * 11, what="report", max_bytes=11)
    with pytest.raises(ResultInvalid, match="report is too large: 12 bytes"):
        decode(encode("a" * 11), str, what="report", max_bytes=11)


@pytest.mark.parametrize(
    ("data", "type_", "says"),
    [
        (encode("5"), int, "result is not of type int: Expected `int`, got `str`"),
        (encode({"name": 5}), Person, "not of type .*Person: name: Input should be a valid string"),
        (encode({"number": "5", "when": "2030-01-02"}), Strict, "number: Input should be a valid integer"),
        (b"", int, "result is not of type int"),
        (b"\xc1", Any, "result is not of type"),
        (b"\xa1\xff", str, "result is not of type str"),
        (b"\x91" * 10_000, Any, "result is not of type"),
        (b"\x91" * 100_000, Any, "nested too deeply: at most 64 levels are allowed"),
        (b"\x00" * 5_000_000, Any, "at most"),
    ],
)
def test_invalid_bytes_are_refused(data: bytes, type_: Any, says: str):
    with pytest.raises(ResultInvalid, match=says):
        decode(data, type_)


def test_a_type_that_cannot_be_hashed_still_decodes():
    assert decode(encode(5), Annotated[int, ["not", "hashable"]]) == 5


def test_pydantic_is_not_imported_unless_it_is_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "pydantic")
    encode(Path("a"))
    assert "pydantic" not in sys.modules
