"""Imports go downwards only: the rooms of the package stand in layers, and nothing looks up or in circles."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tests.architecture.package import PACKAGE, Module, modules

LAYERS = [
    {"__main__", "pytest_plugin"},
    {"cli"},
    {"dashboard", "deploy", "demo", "testing"},
    {"fleet"},
    {"worker", "agents"},
    {"client", "admin"},
    {"store", "embedded"},
    {"tools", "observability", "config", "blocking"},
    {"domain", "aio", "ownership"},
    {"errors", "files", "forks", "own_loggers", "version"},
]
"""From the top. A room may import from the layers below its own, but not from the rooms beside it."""
STORE_LAYERS = [{"maintenance"}, {"queries", "jobs"}, {"broker"}, {"keys", "scripts", "replies"}]
"""The same inside the store."""


def heights(layers: list[set[str]]) -> dict[str, int]:
    return {room: -depth for depth, rooms in enumerate(layers) for room in rooms}


HEIGHT = heights(LAYERS)
STORE_HEIGHT = heights(STORE_LAYERS)
ROOMS = [module for module in modules() if module.room]
STORE = [module for module in modules() if module.name.startswith(f"{PACKAGE}.store.")]


class Import(NamedTuple):
    """A module, and what it imports."""

    module: str
    imports: str


def in_room(room: str) -> list[Module]:
    return [module for module in modules() if module.room == room]


def part(name: str, depth: int) -> str:
    """The name's part at a depth; empty if it has none."""
    return ([*name.split("."), "", "", ""])[depth] if name.split(".")[0] == PACKAGE else ""


def test_every_room_has_its_layer() -> None:
    assert {module.room for module in ROOMS} <= set(HEIGHT)


def imports(found: Iterable[Module]) -> list[Import]:
    """Every import in these modules."""
    return [Import(module.name, name) for module in found for name in sorted(module.imports())]


def test_imports_go_downwards() -> None:
    others = [each for each in imports(ROOMS) if part(each.imports, 1) not in ("", part(each.module, 1))]
    assert [each for each in others if HEIGHT[part(each.imports, 1)] >= HEIGHT[part(each.module, 1)]] == []


def test_nothing_inside_imports_the_root() -> None:
    """The root imports nearly everything, so whoever imports it imports upwards."""
    assert [each for each in imports(ROOMS) if each.imports == PACKAGE] == []


def test_imports_inside_the_store_go_downwards() -> None:
    inside = [each for each in imports(STORE) if part(each.imports, 1) == "store"]
    others = [each for each in inside if part(each.imports, 2) not in ("", part(each.module, 2))]
    assert [each for each in others if STORE_HEIGHT[part(each.imports, 2)] >= STORE_HEIGHT[part(each.module, 2)]] == []


def reached(graph: Mapping[str, Iterable[str]], start: str) -> set[str]:
    found: set[str] = set()
    todo = list(graph[start])
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += graph.get(name, ())
    return found


def test_no_module_reaches_itself() -> None:
    graph = {module.name: {name for name in module.imports() if name.startswith(PACKAGE)} for module in modules()}
    assert [name for name in graph if name in reached(graph, name)] == []


def test_no_folder_reaches_itself() -> None:
    """Inside each folder, its files and subfolders import each other without a circle."""
    graphs: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for module in ROOMS:
        for name in module.imports():
            here, there = module.name.split("."), name.split(".")
            shared = next((i for i, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), None)
            if there[0] == PACKAGE and shared is not None:
                graphs[".".join(here[:shared])][here[shared]].add(there[shared])
    circles = {
        folder: names
        for folder, graph in graphs.items()
        if (names := [name for name in graph if name in reached(graph, name)])
    }
    assert circles == {}


def test_only_the_store_knows_the_client_library() -> None:
    others = imports(module for module in modules() if module.room != "store")
    assert [each for each in others if each.imports.split(".")[0] in {"redis", "hiredis", "valkey"}] == []


def test_commands_know_neither_the_store_nor_a_broker() -> None:
    """People ask and act through ``admin/``; jobs are submitted through ``client/``."""
    assert [each for each in imports(in_room("cli")) if part(each.imports, 1) == "store"] == []
    forbidden = {"Broker", "open_broker", "_broker", "_connect"}
    assert {module.name: used for module in in_room("cli") if (used := names(module) & forbidden)} == {}


def names(module: Module) -> set[str]:
    """Everything that it imports, uses or reaches by a dot, by its last name."""
    found: set[str] = set()
    for node in ast.walk(module.tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                found.add(name)
    return found


def test_the_domain_does_no_input_or_output() -> None:
    outside = {"asyncio", "socket", "threading", "subprocess", "pathlib", "logging", "io", "http"}
    assert [each for each in imports(in_room("domain")) if each.imports.split(".")[0] in outside] == []
