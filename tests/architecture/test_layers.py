"""Imports go downwards only: the rooms of the package stand in layers, and nothing looks up or in circles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import pytest

from tests.architecture.package import PACKAGE, Module, modules

LAYERS = [
    {"__main__"},
    {"cli"},
    {"dashboard", "deploy", "demo", "testing"},
    {"fleet"},
    {"worker", "agents"},
    {"client", "admin"},
    {"store", "embedded"},
    {"tools", "observability", "config"},
    {"domain", "aio"},
    {"errors", "version"},
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
CLI = [module for module in modules() if module.room == "cli"]


def part(name: str, depth: int) -> str:
    """The name's part at a depth; empty if it has none."""
    return ([*name.split("."), "", "", ""])[depth] if name.split(".")[0] == PACKAGE else ""


def test_every_room_has_its_layer() -> None:
    assert {module.room for module in ROOMS} <= set(HEIGHT)


@pytest.mark.parametrize("module", ROOMS, ids=lambda module: module.name)
def test_imports_go_downwards(module: Module) -> None:
    others = {name for name in module.imports() if part(name, 1) not in ("", module.room)}
    assert [name for name in sorted(others) if HEIGHT[part(name, 1)] >= HEIGHT[module.room]] == []


@pytest.mark.parametrize("module", ROOMS, ids=lambda module: module.name)
def test_nothing_inside_imports_the_root(module: Module) -> None:
    """The root imports nearly everything, so whoever imports it imports upwards."""
    assert PACKAGE not in module.imports()


@pytest.mark.parametrize("module", STORE, ids=lambda module: module.name)
def test_imports_inside_the_store_go_downwards(module: Module) -> None:
    room = part(module.name, 2)
    others = {name for name in module.imports() if part(name, 1) == "store" and part(name, 2) not in ("", room)}
    assert [name for name in sorted(others) if STORE_HEIGHT[part(name, 2)] >= STORE_HEIGHT[room]] == []


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


@pytest.mark.parametrize("module", [m for m in modules() if m.room != "store"], ids=lambda module: module.name)
def test_only_the_store_knows_the_client_library(module: Module) -> None:
    assert {name.split(".")[0] for name in module.imports()}.isdisjoint({"redis", "hiredis", "valkey"})


@pytest.mark.parametrize("module", CLI, ids=lambda module: module.name)
def test_commands_know_neither_the_store_nor_a_broker(module: Module) -> None:
    """People ask and act through ``admin/``; jobs are submitted through ``client/``."""
    assert [name for name in module.imports() if part(name, 1) == "store"] == []


@pytest.mark.parametrize("module", [m for m in modules() if m.room == "domain"], ids=lambda module: module.name)
def test_the_domain_does_no_input_or_output(module: Module) -> None:
    outside = {"asyncio", "socket", "threading", "subprocess", "pathlib", "logging", "io", "http"}
    assert {name.split(".")[0] for name in module.imports()}.isdisjoint(outside)
