"""Names of queues and tools."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from taskserver.domain.names import check_queue_name, check_tool_name, did_you_mean
from taskserver.errors import ConfigError

HOSTILE = [
    "",
    " ",
    "a b",
    "os:system",
    "../x",
    "a/b",
    "a\n",
    "a\x00",
    "ä",
    "\uff53ummarize",
    "\u0440aypal",
    "a{b}",
    "a*",
    "-a",
    ".a",
    "a" * 129,
]


@pytest.mark.parametrize("name", ["default", "a", "0", "A-b_c.9", "q" * 64])
def test_queue_names(name: str) -> None:
    assert check_queue_name(name) == name


@pytest.mark.parametrize("name", ["summarize", "_private", "pkg.mod.tool", "a-b", "t" * 128])
def test_tool_names(name: str) -> None:
    assert check_tool_name(name) == name


@pytest.mark.parametrize("name", [*HOSTILE, "q" * 65, "_a"])
def test_invalid_queue_names(name: str) -> None:
    _refused(check_queue_name, name)


@pytest.mark.parametrize("name", [*HOSTILE, "0a"])
def test_invalid_tool_names(name: str) -> None:
    _refused(check_tool_name, name)


def _refused(check: Callable[[str], str], name: str) -> None:
    with pytest.raises(ConfigError, match="is not a valid"):
        check(name)


def test_suggestions() -> None:
    known = ["summarize", "translate"]
    assert did_you_mean("sumarize", known) == "; did you mean 'summarize'?"
    assert did_you_mean("xyz", known) == did_you_mean("x", []) == ""
