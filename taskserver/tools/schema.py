"""Describes tools to agents: as JSON Schema, and in the formats of OpenAI, Anthropic and MCP."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from taskserver.domain.names import did_you_mean
from taskserver.errors import ConfigError, ToolInvalid
from taskserver.tools.codec import is_model
from taskserver.tools.secrets import secret_types
from taskserver.tools.tool import Tool

FORMATS = ("json-schema", "openai", "anthropic", "mcp")

_REF = "#/$defs/{name}"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+")


def json_schema(tool: Tool) -> dict[str, Any]:
    """The tool's arguments as one self-contained JSON Schema (2020-12) of type object.

    Raises:
        ToolInvalid: if a type has no JSON Schema, or an annotation cannot be resolved.
    """
    try:
        schema = _schema(tool.arguments)
    except (TypeError, ValueError) as error:
        raise ToolInvalid(f"tool {tool.name!r}: its arguments cannot be described by a JSON Schema: {error}") from error
    definitions = schema.pop("$defs")
    own: dict[str, Any] = definitions.pop(schema["$ref"].removeprefix(_REF.format(name="")))
    del own["title"]
    return own | ({"$defs": definitions} if definitions else {})


def describe(tool: Tool, format: str = "json-schema") -> dict[str, Any]:  # noqa: A002 - the option's name
    """Describe the tool in the format of an agent framework.

    Args:
        tool: The tool.
        format: One of ``FORMATS``.

    Raises:
        ConfigError: if the format is unknown.
        ToolInvalid: if the format does not allow the tool's name, or its arguments have no schema.
    """
    match format:
        case "json-schema":
            return _json_schema_form(tool)
        case "openai":
            return _openai_form(tool)
        case "anthropic":
            _check_name(tool, "Anthropic", 128)
            return {"name": tool.name, "description": tool.description, "input_schema": json_schema(tool)}
        case "mcp":
            return _mcp_form(tool)
    raise ConfigError(f"format must be one of {', '.join(FORMATS)}, not {format!r}{did_you_mean(format, FORMATS)}")


def _json_schema_form(tool: Tool) -> dict[str, Any]:
    described = {"name": tool.name, "description": tool.description, "parameters": json_schema(tool)}
    returns = _return_schema(tool)
    return described | ({"returns": returns} if returns else {})


def _openai_form(tool: Tool) -> dict[str, Any]:
    _check_name(tool, "OpenAI", 64)
    function = {"name": tool.name, "description": tool.description, "parameters": json_schema(tool)}
    return {"type": "function", "function": function}


def _mcp_form(tool: Tool) -> dict[str, Any]:
    described = {"name": tool.name, "description": tool.description, "inputSchema": json_schema(tool)}
    returns = _return_schema(tool)
    return described | ({"outputSchema": returns} if returns.get("type") == "object" else {})


def _check_name(tool: Tool, whose: str, longest: int) -> None:
    if not _PLAIN_NAME.fullmatch(tool.name) or len(tool.name) > longest:
        raise ToolInvalid(
            f"tool {tool.name!r}: {whose} allows 1 to {longest} letters, digits, '_' and '-' in a name; "
            "rename it with @tool(name=...)"
        )


def _return_schema(tool: Tool) -> dict[str, Any]:
    """The schema of the result; empty if the result can be anything, or cannot be described."""
    if tool.returns is Any:
        return {}
    try:
        schema = _schema(tool.returns)
    except (TypeError, ValueError):
        return {}
    definitions = schema.pop("$defs")
    # MCP expects the type at the top level, so a reference is replaced by its target.
    own = schema.pop("$ref", "").removeprefix(_REF.format(name=""))
    found: dict[str, Any] = definitions.get(own, {}) | schema
    return found | ({"$defs": definitions} if "$ref" in str(found) else {})


def _schema(type_: Any) -> dict[str, Any]:
    """The schema of any type, with all its ``$defs`` at the top level."""
    models: dict[str, Any] = {}
    owners: dict[str, Any] = {}

    def foreign(cls: Any) -> dict[str, Any]:
        if cls in secret_types():
            return {"type": "string", "format": "password", "writeOnly": True}
        if not is_model(cls):  # signature.py allows only these two; msgspec does not accept an empty schema
            return {"title": "Any"} if cls is object else {"type": "string", "format": "path"}
        # Two models may have the same name, and definitions of their own: a prefix keeps them apart.
        prefix = cls.__name__
        while owners.setdefault(prefix, cls) is not cls:
            prefix += "_"
        schema: dict[str, Any] = cls.model_json_schema(ref_template=f"#/$defs/{prefix}.{{model}}")
        models.update({f"{prefix}.{name}": definition for name, definition in schema.pop("$defs", {}).items()})
        return schema

    (schema,), definitions = msgspec.json.schema_components([type_], ref_template=_REF, schema_hook=foreign)
    return {**schema, "$defs": definitions | models}
