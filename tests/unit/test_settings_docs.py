"""The table in docs/settings.md has every setting, with its default and meaning as they are declared."""

from __future__ import annotations

import re
from pathlib import Path

from taskserver.config.settings import Settings
from taskserver.config.texts import variable
from taskserver.config.values import as_written
from taskserver.domain.durability import Durability

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"
OTHERS = {"TASKSERVER_TOOLS", "TASKSERVER_HOME", "TASKSERVER_REDIS_BIN", "TASKSERVER_DEBUG", "NO_COLOR"}
"""Variables that are read before there are settings, or are not ours."""


def default(value: object) -> str:
    if value in (None, ""):
        return ""
    if isinstance(value, tuple) and not isinstance(value, Durability):
        return f"`{value[0]:g}, …, {value[-1]:g}`"
    return f"`{as_written(value)}`"


def rows() -> list[str]:
    return [
        f"| `{variable(name)}` | {default(field.default)} | {field.description} |".replace("|  |", "| |")
        for name, field in Settings.model_fields.items()
    ]


def documented() -> list[str]:
    """The rows of the page, with the texts of links in place of the links."""
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", DOCUMENT.read_text())
    return [line for line in text.splitlines() if line.startswith("| `")]


def test_every_setting_is_documented() -> None:
    assert [row for row in rows() if row not in documented()] == []


def test_no_other_variable_is() -> None:
    names = {line.split("`")[1] for line in documented() if line not in rows()}
    assert names == OTHERS
