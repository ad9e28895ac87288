"""Tools as they are described to agents: JSON Schema, OpenAI, Anthropic, MCP."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from pydantic import BaseModel

from taskserver.errors import ConfigError, ToolInvalid
from taskserver.tools import FORMATS, Context, Tool, describe, json_schema, tool, tool_of


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Point(msgspec.Struct):
    x: int


class Tree(msgspec.Struct):
    children: "list[Tree]" = []


@dataclass
class Box:
    corners: list[Point]


class Node(BaseModel):
    name: str
    children: "list[Node]" = []


class Person(BaseModel):
    home: Node


def made(function: Callable[..., Any], **options: Any) -> Tool:
    found = tool_of(tool(**options)(function))
    assert found is not None
    return found


def schema_of(annotation: Any) -> dict[str, Any]:
    """The schema of a tool with one argument ``x`` of that type."""

    def run(x): ...

    run.__annotations__["x"] = annotation
    return json_schema(made(run))


def references(schema: Any) -> set[str]:
    """Every name that the schema refers to."""
    if isinstance(schema, dict):
        own = {schema["$ref"].removeprefix("#/$defs/")} if "$ref" in schema else set()
        return own.union(*map(references, schema.values()))
    return set().union(*map(references, schema)) if isinstance(schema, list) else set()


async def summarize(url: str, max_words: Annotated[int, msgspec.Meta(ge=1)] = 200, *, ctx: Context) -> Point:
    """Shorten a page.

    Args:
        url: Where the page is,
            with its scheme.
        max_words (int): Words at most.
        ctx: Not an argument.

    Returns:
        The summary.
    """
    return Point(1)


SUMMARIZE = made(summarize)

PARAMETERS = {
    "type": "object",
    "properties": {
        "url": {"type": "string", "description": "Where the page is, with its scheme."},
        "max_words": {"type": "integer", "minimum": 1, "default": 200, "description": "Words at most."},
    },
    "required": ["url"],
    "additionalProperties": False,
}
POINT = {"title": "Point", "type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}


def test_the_schema_describes_each_argument():
    assert json_schema(SUMMARIZE) == PARAMETERS


def test_a_tool_without_arguments_takes_an_empty_object():
    def run(): ...

    assert json_schema(made(run)) == {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (str, {"type": "string"}),
        (Any, {}),
        (object, {"title": "Any"}),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (dict[str, bool], {"type": "object", "additionalProperties": {"type": "boolean"}}),
        (Literal["a", "b"], {"enum": ["a", "b"]}),
        (Path, {"type": "string", "format": "path"}),
        (Annotated[int, "how many"], {"type": "integer", "description": "how many"}),
        (Annotated[int, msgspec.Meta(description="how many")], {"type": "integer", "description": "how many"}),
    ],
)
def test_types_have_their_schema(annotation: Any, schema: dict[str, Any]):
    assert schema_of(annotation)["properties"]["x"] == schema


@pytest.mark.parametrize("annotation", [Point, Box, Tree, Colour, Person, Node, list[Node] | None, dict[str, Box]])
def test_a_schema_contains_all_that_it_refers_to(annotation: Any):
    schema = schema_of(annotation)
    json.dumps(schema)
    assert references(schema) == set(schema.get("$defs", {}))
    assert "$defs" not in json.dumps(schema["properties"]).replace("#/$defs/", "")


def test_models_of_one_name_are_kept_apart():
    def other() -> Any:
        class Node(BaseModel):
            inner: Point2

        return Node

    class Point2(BaseModel):
        y: int

    def run(a, b): ...

    run.__annotations__.update(a=Node, b=other())
    definitions = json_schema(made(run))["$defs"]
    assert set(definitions) == {"Node.Node", "Node_.Point2"}


def test_the_plain_format_describes_the_result():
    assert describe(SUMMARIZE) == {
        "name": "summarize",
        "description": "Shorten a page.",
        "parameters": PARAMETERS,
        "returns": POINT,
    }


def test_openai():
    assert describe(SUMMARIZE, "openai") == {
        "type": "function",
        "function": {"name": "summarize", "description": "Shorten a page.", "parameters": PARAMETERS},
    }


def test_anthropic():
    assert describe(SUMMARIZE, "anthropic") == {
        "name": "summarize",
        "description": "Shorten a page.",
        "input_schema": PARAMETERS,
    }


def test_mcp():
    assert describe(SUMMARIZE, "mcp") == {
        "name": "summarize",
        "description": "Shorten a page.",
        "inputSchema": PARAMETERS,
        "outputSchema": POINT,
    }


def returns_text() -> str: ...  # type: ignore[empty-body]
def returns_anything(): ...
def returns_tree() -> Tree: ...  # type: ignore[empty-body]
def returns_node() -> Node: ...  # type: ignore[empty-body]


def test_mcp_has_an_output_schema_for_objects_only():
    assert "outputSchema" not in describe(made(returns_text), "mcp")
    assert "outputSchema" not in describe(made(returns_anything), "mcp")


@pytest.mark.parametrize("function", [returns_tree, returns_node])
def test_a_result_that_contains_its_own_type_is_an_object_too(function: Callable[..., Any]):
    returns = describe(made(function, name=f"again_{function.__name__}"), "mcp")["outputSchema"]
    assert returns["type"] == "object"
    assert references(returns) == set(returns["$defs"])


@pytest.mark.parametrize("format_", ["openai", "anthropic"])
def test_a_name_that_a_format_does_not_allow_is_refused(format_: str):
    def run(): ...

    with pytest.raises(ToolInvalid, match=r"tool 'web.fetch': .* letters, digits, '_' and '-'"):
        describe(made(run, name="web.fetch"), format_)


def test_mcp_allows_dots():
    def run(): ...

    assert describe(made(run, name="web.fetch"), "mcp")["name"] == "web.fetch"


def test_an_unknown_format_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"did you mean 'openai'\?"):
        describe(SUMMARIZE, "open-ai")


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_is_json(format_: str):
    assert json.loads(json.dumps(describe(SUMMARIZE, format_)))
