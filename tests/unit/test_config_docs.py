"""The reference in docs/configuration.md has every key, with the default and description of the models."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from taskserver.cli.config_values import FROM_SETTINGS
from taskserver.config.resources import (
    Amounts,
    Autoscaling,
    BrokerResource,
    ComputeResources,
    File,
    Kubernetes,
    QueueResource,
    TaskServer,
    Toleration,
    ToolSource,
)
from taskserver.config.settings import Settings
from taskserver.config.texts import variable
from taskserver.config.values import as_written

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
MODELS = (
    File,
    BrokerResource,
    TaskServer,
    QueueResource,
    ToolSource,
    Kubernetes,
    ComputeResources,
    Amounts,
    Autoscaling,
    Toleration,
)


def default(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if model is TaskServer and (setting := FROM_SETTINGS[model].get(name)):
        value = Settings.model_fields[setting].default
        return ("" if value is None else f"`{as_written(value)}`, or ") + f"`{variable(setting)}`"
    if field.default in (None, "", PydanticUndefined, [], {}) or isinstance(field.default, BaseModel):
        return ""
    return f"`{as_written(field.default)}`"


def rows(model: type[BaseModel]) -> list[str]:
    return [
        f"| `{field.alias or name}` | {default(model, name, field)} | {field.description} |".replace("|  |", "| |")
        for name, field in model.model_fields.items()
    ]


@pytest.mark.parametrize("model", MODELS)
def test_every_key_is_documented(model: type[BaseModel]) -> None:
    text = DOCUMENT.read_text()
    assert [row for row in rows(model) if row not in text] == []


def test_no_other_key_is() -> None:
    known = {row for model in MODELS for row in rows(model)}
    documented = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `") and "`$" not in line]
    assert [line for line in documented if line not in known] == []
