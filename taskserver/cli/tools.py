"""``taskserver tools``: list tools, for people and for agents."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, get_args, get_origin

import click
import msgspec

from taskserver.cli.groups import SuggestingGroup
from taskserver.cli.options import json_option, load_tools, tools_option
from taskserver.cli.screen import Column, show_json, show_table
from taskserver.tools import FORMATS, Tool, describe


@click.group(cls=SuggestingGroup)
def tools() -> None:
    """List the tools of your modules, for people or for agents."""


@tools.command("list")
@tools_option
@click.option("--format", "format_", type=click.Choice(FORMATS), help="Print JSON in the format of an agent framework.")
@json_option
def list_(modules: tuple[str, ...], format_: str | None, as_json: bool) -> None:
    """List tools with their arguments and descriptions."""
    found = sorted(load_tools(modules).tools.values(), key=lambda tool: tool.name)
    if format_ or as_json:
        show_json([describe(tool, format_ or FORMATS[0]) for tool in found])
        return
    columns = [Column("TOOL"), Column("ARGUMENTS", shrinks=True), Column("DESCRIPTION", shrinks=True)]
    show_table(columns, ((tool.name, _arguments(tool), tool.description) for tool in found), "no tools, only consumers")


def _arguments(tool: Tool) -> str:
    return ", ".join(map(_argument, msgspec.structs.fields(tool.arguments)))


def _argument(field: msgspec.structs.FieldInfo) -> str:
    shown = f"{field.name}: {_type_name(field.type)}"
    if field.required:
        return shown
    made = field.default_factory is not msgspec.NODEFAULT
    return f"{shown} = {field.default_factory() if made else field.default!r}"


def _type_name(type_: Any) -> str:
    if get_origin(type_) is Annotated:
        return _type_name(get_args(type_)[0])
    if inspect.isclass(type_) and not get_args(type_):
        return type_.__name__
    return str(type_).replace("typing.", "")
