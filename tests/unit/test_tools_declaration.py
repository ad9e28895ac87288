"""Declaring a tool: what ``@tool`` accepts, what it refuses, and what is known about a tool afterwards."""

from typing import Annotated, Any

import msgspec
import pytest

from taskserver.domain.retry import RetryPolicy
from taskserver.errors import ToolInvalid
from taskserver.tools import Context, tool, tool_of


def declared(target: Any) -> Any:
    found = tool_of(target)
    assert found is not None
    return found


def fields(target: Any) -> dict[str, Any]:
    return {field.name: field for field in msgspec.structs.fields(declared(target).arguments)}


def test_a_decorated_function_stays_the_function():
    def add(a: int, b: int) -> int:
        return a + b

    assert tool(add) is add
    assert add(1, 2) == 3


def test_bare_and_called_decorators_declare_the_same():
    @tool
    def one() -> None: ...

    @tool()
    def two() -> None: ...

    for each in (one, two):
        assert declared(each).timeout == 600.0
        assert declared(each).retry == RetryPolicy()
        assert (declared(each).queue, declared(each).lane) == (None, None)
    assert (declared(one).name, declared(two).name) == ("one", "two")


def test_options_are_kept():
    @tool(
        name="fetch.page",
        timeout=None,
        max_retries=0,
        retry_delay=1,
        retry_cap=5,
        exponential_backoff=False,
        queue="slow",
        priority=1,
    )
    async def fetch() -> None: ...

    record = declared(fetch)
    assert (record.name, record.timeout, record.queue, record.lane) == ("fetch.page", None, "slow", "high")
    assert record.retry == RetryPolicy(max_retries=0, delay=1, cap=5, exponential=False)


def test_the_function_decides_where_it_runs():
    @tool
    async def on_the_loop() -> None: ...

    @tool
    def in_a_thread() -> None: ...

    assert declared(on_the_loop).runs_in == "async"
    assert declared(in_a_thread).runs_in == "thread"


def test_the_description_is_the_first_paragraph():
    @tool
    def described() -> None:
        """Says what it does,
        in one paragraph.

        And then more.
        """

    assert declared(described).description == "Says what it does, in one paragraph."


def test_a_class_with_run_is_a_tool():
    @tool
    class Search:
        """Finds things."""

        async def run(self, query: str) -> list[str]:
            return [query]

    record = declared(Search)
    assert (record.name, record.description, record.runs_in) == ("Search", "Finds things.", "async")
    assert list(fields(Search)) == ["query"]
    assert record.returns == list[str]


def test_a_static_run_keeps_its_first_parameter():
    @tool
    class Search:
        @staticmethod
        def run(query: str) -> None: ...

    assert list(fields(Search)) == ["query"]


def test_defaults_make_arguments_optional():
    @tool
    def shout(text: str, times: int = 2, marks: list[str] = ["!"]) -> None: ...  # noqa: B006

    assert fields(shout)["text"].required
    arguments = declared(shout).arguments
    first, second = arguments(text="a"), arguments(text="a")
    assert (first.times, first.marks) == (2, ["!"])
    assert first.marks is not second.marks


def test_the_default_none_allows_null():
    @tool
    def greet(name: str = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    assert msgspec.convert({"name": None}, declared(greet).arguments).name is None


@pytest.mark.parametrize("annotation", [Context, Context | None, Annotated[Context, "the job"]])
def test_the_context_is_found_by_its_annotation(annotation: Any):
    def run(x: int, job=None) -> None: ...

    run.__annotations__["job"] = annotation
    tool(run)
    assert declared(run).context_parameter == "job"
    assert list(fields(run)) == ["x"]


def test_a_bare_ctx_is_the_context():
    @tool
    def run(x: int, ctx) -> None: ...

    assert declared(run).context_parameter == "ctx"


def test_a_tool_without_context_has_none():
    @tool
    def run(ctx: int) -> None: ...

    assert declared(run).context_parameter is None
    assert list(fields(run)) == ["ctx"]


def test_an_unannotated_tool_takes_and_returns_anything():
    @tool
    def run(x): ...

    assert fields(run)["x"].type is Any
    assert declared(run).returns is Any


def later(x: "Later") -> "Later":
    return x


tool(later)  # before Later exists


class Later(msgspec.Struct):
    number: int


def test_types_may_be_defined_after_the_tool():
    assert fields(later)["x"].type is Later
    assert declared(later).returns is Later


def test_a_subclass_of_a_tool_is_not_a_tool_itself():
    @tool
    class Base:
        def run(self) -> None: ...

    class Derived(Base): ...

    assert tool_of(Derived) is None


def test_what_is_not_decorated_is_not_a_tool():
    assert tool_of(len) is None
    assert tool_of(Later) is None
    assert tool_of("text") is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"timeout": 0}, "timeout must be a positive number of seconds, or None for no limit; not 0"),
        ({"timeout": float("inf")}, "timeout must be a positive number of seconds"),
        ({"timeout": True}, "timeout must be a positive number of seconds"),
        ({"max_retries": -1}, "max_retries must be a non-negative integer, not -1"),
        ({"max_retries": 1.5}, "max_retries must be a non-negative integer"),
        ({"retry_delay": -1}, "retry_delay must be a non-negative number of seconds"),
        ({"retry_cap": "5"}, "retry_cap must be a non-negative number of seconds"),
        ({"name": "no spaces"}, "'no spaces' is not a valid tool name"),
        ({"name": 5}, "name must be a string, not 5"),
        ({"queue": "-"}, "'-' is not a valid queue name"),
        ({"priority": 11}, "priority must be between 1"),
        ({"runs_in": "async"}, "is not possible for a sync function"),
        ({"max_memory": "1GB"}, "max_memory requires runs_in='process'"),
        ({"runs_in": "process", "max_memory": "1GG"}, "unknown unit 'gg'"),
        ({"runs_in": "process", "max_memory": 1000}, "max_memory: 1000 is too small: it must be at least 64 MB"),
        ({"runs_in": "threads"}, "did you mean 'thread'?"),
    ],
)
def test_bad_options_are_refused_with_function_and_file(options: dict[str, Any], says: str):
    def broken() -> None: ...

    with pytest.raises(ToolInvalid) as caught:
        tool(**options)(broken)
    assert says in str(caught.value)
    assert "broken' (" in str(caught.value)
    assert "test_tools_declaration.py:" in str(caught.value)


def test_an_async_function_cannot_run_in_a_thread():
    async def fetch() -> None: ...

    with pytest.raises(ToolInvalid, match="is not possible for an async function"):
        tool(runs_in="thread")(fetch)


def positional(x, /): ...
def starred(*xs): ...
def double_starred(**xs): ...
def generator():
    yield 1


async def async_generator():
    yield 1


class Method:
    def act(self): ...


class NoRun: ...


class Demanding:
    def __init__(self, key: str) -> None: ...

    def run(self): ...


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (positional, "parameter 'x' is positional-only"),
        (starred, r"parameter '\*xs' takes any number"),
        (double_starred, r"parameter '\*\*xs' takes any name"),
        (generator, "a generator cannot be a tool"),
        (async_generator, "a generator cannot be a tool"),
        (Method.act, "a method cannot be a tool"),
        (NoRun, "needs a method 'run'"),
        (Demanding, "__init__ needs a default for 'key'"),
        ("name", r"pass options by name, as in @tool\(name=...\)"),
        (len, "decorates a function or a class"),
        (lambda: None, "'<lambda>' is not a valid tool name"),
    ],
)
def test_what_cannot_be_called_by_name_is_refused(target: Any, says: str):
    with pytest.raises(ToolInvalid, match=says):
        tool(target)


def test_a_second_decorator_is_refused():
    @tool(name="first")
    def once() -> None: ...

    with pytest.raises(ToolInvalid, match="is already the tool 'first'"):
        tool(once)


def test_a_decorator_above_tool_is_refused():
    from functools import wraps

    @tool
    def inner() -> None: ...

    @wraps(inner)
    def outer() -> None: ...

    with pytest.raises(ToolInvalid, match="move @tool to the top"):
        tool_of(outer)


def unresolved(x: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821


def two_contexts(a: Context, b: Context) -> None: ...


class Foreign: ...


class One(msgspec.Struct):
    a: int


class Two(msgspec.Struct):
    b: int


def foreign(x: list[dict[str, Foreign]]) -> None: ...
def returns_foreign() -> Foreign: ...
def ambiguous(x: One | Two) -> None: ...


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (unresolved, "could not resolve an annotation: name 'Missing' is not defined"),
        (two_contexts, "a and b both take the Context"),
        (foreign, "argument 'x' is of type .*Foreign, which cannot be sent"),
        (returns_foreign, "the result is of type .*Foreign, which cannot be sent"),
        (ambiguous, "argument 'x' is of type .*One | .*Two, which cannot be sent"),
    ],
)
def test_types_are_refused_when_they_are_first_needed(target: Any, says: str):
    tool(target)
    with pytest.raises(ToolInvalid, match=says):
        _ = declared(target).arguments


def test_constraints_that_would_be_ignored_are_refused():
    from pydantic import Field

    @tool
    def run(x: Annotated[int, Field(gt=0)]) -> None: ...

    with pytest.raises(ToolInvalid, match=r"use msgspec\.Meta"):
        _ = declared(run).arguments
