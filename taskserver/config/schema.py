"""The JSON Schema of the configuration file, for editors."""

from __future__ import annotations

from typing import Any

from taskserver.config.resources import File

_REFERENCE = {"type": "string", "pattern": r"\$\{"}


def schema() -> dict[str, Any]:
    """The schema of the models: every key with its description, bounds and default."""
    made = File.model_json_schema(by_alias=True)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "taskserver configuration"}
    tidied = _tidied(made)
    return head | {key: value for key, value in tidied.items() if key != "title"}


def _tidied(node: Any, *, names: bool = False) -> Any:
    """The schema without what a file cannot contain (null), and with references allowed in place of numbers."""
    if isinstance(node, list):
        return [_tidied(each) for each in node]
    if not isinstance(node, dict):
        return node
    if names:
        return {name: _tidied(value) for name, value in node.items()}
    kept = {
        key: _tidied(value, names=key in ("properties", "$defs"))
        for key, value in node.items()
        if not (key == "default" and value in (None, "")) and key != "title"
    }
    if "anyOf" in kept:
        options = [option for option in kept.pop("anyOf") if option != {"type": "null"}]
        kept |= options[0] if len(options) == 1 else {"anyOf": options}
    if kept.get("type") in ("integer", "number"):
        bounds = {key: kept.pop(key) for key in ("type", "minimum", "maximum") if key in kept}
        kept["anyOf"] = [bounds, _REFERENCE]
    return kept
