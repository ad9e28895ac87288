"""Arguments of a call: checked strictly, with errors that tell a model what to change."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Annotated, Any, Literal

import msgspec
import pytest
from pydantic import BaseModel

from taskserver.errors import ArgumentsInvalid
from taskserver.tools import Tool, check, parse_key_values, tool, tool_of


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Point(msgspec.Struct):
    x: int


@dataclass
class Box:
    corners: list[Point]


class Person(BaseModel):
    name: str
    age: int = 0


def made(function: Callable[..., Any]) -> Tool:
    found = tool_of(tool(function))
    assert found is not None
    return found


def taking(annotation: Any) -> Tool:
    """A tool with one argument ``x`` of that type."""

    def run(x): ...

    run.__annotations__["x"] = annotation
    return made(run)


def summarize(url: str, max_words: int = 200) -> None: ...


SUMMARIZE = made(summarize)


class Float32:
    """A number as numpy has them."""

    ndim, dtype = 0, SimpleNamespace(kind="f")

    def item(self) -> float:
        return 1.5


def test_what_a_worker_would_accept_is_accepted() -> None:
    """It receives plain data: numbers of other libraries are plain ones there, and still not strings."""
    assert check(taking(list[float]), {"x": [Float32()]}).x == [1.5]  # type: ignore[attr-defined]
    with pytest.raises(ArgumentsInvalid):
        check(taking(str), {"x": Float32()})


@pytest.mark.parametrize(
    ("annotation", "given", "taken"),
    [
        (int, 5, 5),
        (float, 5, 5.0),
        (str, "5", "5"),
        (bool, True, True),
        (bytes, b"ab", b"ab"),
        (Any, [1, {"a": None}], [1, {"a": None}]),
        (object, "anything", "anything"),
        (int | None, None, None),
        (list[int], [1, 2], [1, 2]),
        (set[str], ["a", "a"], {"a"}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (dict[str, list[int]], {"a": [1]}, {"a": [1]}),
        (dict[int, str], {"1": "a"}, {1: "a"}),
        (Literal["a", 2], 2, 2),
        (Colour, "red", Colour.RED),
        (datetime, "2030-01-02T03:04:05Z", datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (Path, "/tmp/a", Path("/tmp/a")),
        (Point, {"x": 1}, Point(1)),
        (Box, {"corners": [{"x": 1}]}, Box([Point(1)])),
        (Person, {"name": "Ada"}, Person(name="Ada")),
        (list[Person] | None, [{"name": "Ada", "age": 36}], [Person(name="Ada", age=36)]),
        (Annotated[int, msgspec.Meta(ge=1)], 1, 1),
        (Person, Person(name="Ada"), Person(name="Ada")),
        (Point, Point(1), Point(1)),
        (Colour, Colour.RED, Colour.RED),
    ],
)
def test_plain_data_becomes_what_is_annotated(annotation: Any, given: Any, taken: Any):
    checked: Any = check(taking(annotation), {"x": given})
    assert checked.x == taken
    assert type(checked.x) is type(taken)


@pytest.mark.parametrize(
    ("annotation", "given", "says"),
    [
        (int, "5", "argument 'x': expected int, got str"),
        (int, True, "argument 'x': expected int, got bool"),
        (int, 5.5, "argument 'x': expected int, got float"),
        (str, 5, "argument 'x': expected str, got int"),
        (int, None, "argument 'x': expected int, got null"),
        (list[Point], [{"x": 1}, {"x": "a"}], "argument 'x': expected int, got str, at [1].x"),
        (Point, {}, "argument 'x': object missing required field x"),
        (Box, {"corners": [{}]}, "argument 'x': object missing required field x, at corners[0]"),
        (Person, {"age": "old"}, "argument 'x': name: Field required, age: Input should be a valid integer"),
        (Person, 5, "argument 'x': value: Input should be a valid dictionary"),
        (Path, 5, "argument 'x': expected Path, got int"),
        (Colour, "blue", "argument 'x': invalid enum value 'blue'; use one of 'red', 'green'"),
        (Literal["a"] | None, "b", "argument 'x': invalid enum value 'b'; use one of 'a'"),
        (dict[int, str], {"a": "b"}, "argument 'x': expected int, got str, in a key of the object"),
        (Annotated[int, msgspec.Meta(ge=1)], 0, "argument 'x': expected int >= 1"),
        (Colour, "\ud800", "argument 'x': contains a lone surrogate"),
    ],
)
def test_an_invalid_argument_is_named_with_the_reason(annotation: Any, given: Any, says: str):
    with pytest.raises(ArgumentsInvalid) as caught:
        check(taking(annotation), {"x": given})
    assert f"tool 'run': {says}" in str(caught.value)


def test_defaults_are_filled_in():
    assert msgspec.structs.asdict(check(SUMMARIZE, {"url": "u"})) == {"url": "u", "max_words": 200}


def test_any_mapping_will_do():
    checked: Any = check(SUMMARIZE, MappingProxyType({"url": "u"}))
    assert checked.url == "u"


def test_whatever_a_type_raises_is_about_the_arguments():
    class Picky(msgspec.Struct):
        def __post_init__(self) -> None:
            raise KeyError("no such user")

    with pytest.raises(ArgumentsInvalid, match="tool 'run': argument 'x': 'no such user'"):
        check(taking(Picky), {"x": {}})


def test_every_problem_is_named_at_once():
    with pytest.raises(ArgumentsInvalid) as caught:
        check(SUMMARIZE, {"max_words": "5", "ulr": "u"})
    assert str(caught.value) == (
        "tool 'summarize': missing argument 'url'; argument 'max_words': expected int, got str; "
        "unknown argument 'ulr'; did you mean 'url'?"
    )


def test_an_unknown_argument_far_from_any_lists_the_known_ones():
    with pytest.raises(ArgumentsInvalid, match="unknown argument 'zzz'; the tool takes url, max_words"):
        check(SUMMARIZE, {"url": "u", "zzz": 1})


def test_a_flood_of_unknown_arguments_makes_a_short_error():
    with pytest.raises(ArgumentsInvalid) as caught:
        check(SUMMARIZE, {"url": "u"} | {f"z{number}": 0 for number in range(1000)})
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["u"], "expected an object with the arguments by name, got list"), ({5: 1}, "argument names must be strings")],
)
def test_arguments_must_have_names(arguments: Any, says: str):
    with pytest.raises(ArgumentsInvalid, match=says):
        check(SUMMARIZE, arguments)


def test_arguments_nested_too_deeply_are_refused():
    class Node(msgspec.Struct):
        child: Any

    nested: Any = []
    for _ in range(100_000):
        nested = [nested]

    def run(x: Node): ...

    with pytest.raises(ArgumentsInvalid, match="expected object, got array"):
        check(made(run), {"x": nested})


# On the command line


def test_a_value_is_parsed_as_json_if_it_is_json():
    pairs = ["n=5", "f=1.5", "yes=true", "nothing=null", "list=[1]", 'map={"a": 1}', "word=plain text", "url=a=b"]
    assert parse_key_values(None, pairs) == {
        "n": 5,
        "f": 1.5,
        "yes": True,
        "nothing": None,
        "list": [1],
        "map": {"a": 1},
        "word": "plain text",
        "url": "a=b",
    }


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (str, "5", "5"),
        (str | None, "null", "null"),
        (int, "5", 5),
        (Any, "5", 5),
        (list[str], '["5"]', ["5"]),
        (datetime, "2030-01-02T03:04:05Z", "2030-01-02T03:04:05Z"),
        (Colour, "red", "red"),
        (Person, '{"name": "Ada"}', {"name": "Ada"}),
        (int, "five", "five"),
    ],
)
def test_a_known_tool_decides_what_a_value_is(annotation: Any, text: str, value: Any):
    assert parse_key_values(taking(annotation), [f"x={text}"]) == {"x": value}


def test_one_json_object_holds_all_arguments():
    assert parse_key_values(SUMMARIZE, ['{"url": "5", "max_words": 7}']) == {"url": "5", "max_words": 7}


def test_no_arguments_are_an_empty_object():
    assert parse_key_values(SUMMARIZE, []) == {}


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        (["url"], "expected key=value or one JSON object, got 'url'"),
        (["=5"], "expected key=value"),
        (["--x=5"], "expected key=value"),
        (["{}", "a=1"], "expected key=value"),
        (["a=1", "a=2"], "argument 'a' is given twice"),
        (['{"a": 1, "a": 2}'], "argument 'a' is given twice"),
        (["{not json}"], "the arguments are not a JSON object"),
        (['{"a": NaN}'], "NaN is not JSON"),
    ],
)
def test_ambiguous_text_is_refused(pairs: list[str], says: str):
    with pytest.raises(ArgumentsInvalid, match=says):
        parse_key_values(None, pairs)


def test_a_long_name_is_not_shown_in_part() -> None:
    """It may be a secret that got into the wrong place, of which a part would not be masked."""
    with pytest.raises(ArgumentsInvalid, match="unknown argument with a name of 5,000 characters; the tool takes url"):
        check(SUMMARIZE, {"url": "x", "s" * 5_000: 1})
