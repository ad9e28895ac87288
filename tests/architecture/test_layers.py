"""Imports go downwards only: the rooms of the package stand in layers, and nothing looks up or in circles."""

from __future__ import annotations

import pytest

from tests.architecture.package import PACKAGE, Module, modules

LAYERS = [
    {"__main__", "testing"},
    {"cli"},
    {"dashboard", "deploy"},
    {"agents"},
    {"worker"},
    {"client"},
    {"store", "embedded"},
    {"tools", "observability", "config"},
    {"domain"},
    {"errors"},
]
"""From the top. A room may know the layers below its own, and not the rooms beside it."""
HEIGHT = {room: -depth for depth, rooms in enumerate(LAYERS) for room in rooms}
ROOMS = [module for module in modules() if module.room]


def room_of(name: str) -> str:
    return name.split(".")[1] if name.startswith(f"{PACKAGE}.") else ""


def test_every_room_has_its_layer() -> None:
    assert {module.room for module in ROOMS} <= set(HEIGHT)


@pytest.mark.parametrize("module", ROOMS, ids=lambda module: module.name)
def test_imports_go_downwards(module: Module) -> None:
    others = {name for name in module.imports() if room_of(name) not in ("", module.room)}
    assert [name for name in sorted(others) if HEIGHT[room_of(name)] >= HEIGHT[module.room]] == []


def test_no_module_reaches_itself() -> None:
    graph = {module.name: {name for name in module.imports() if name.startswith(PACKAGE)} for module in modules()}

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        todo = list(graph[start])
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo += graph[name]
        return found

    assert [name for name in graph if name in reached(name)] == []


@pytest.mark.parametrize("module", [m for m in modules() if m.room != "store"], ids=lambda module: module.name)
def test_only_the_store_knows_the_client_library(module: Module) -> None:
    assert {name.split(".")[0] for name in module.imports()}.isdisjoint({"redis", "hiredis", "valkey"})


@pytest.mark.parametrize("module", [m for m in modules() if m.room == "domain"], ids=lambda module: module.name)
def test_the_domain_does_no_input_or_output(module: Module) -> None:
    outside = {"asyncio", "socket", "threading", "subprocess", "pathlib", "logging", "io", "http"}
    assert {name.split(".")[0] for name in module.imports()}.isdisjoint(outside)
