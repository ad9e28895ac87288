"""The rules of the house: small files and functions, docstrings, nothing unfinished, nothing that runs foreign code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.architecture.package import Module, modules

FILE_LINES = 400
FUNCTION_LINES = 50
Function = ast.FunctionDef | ast.AsyncFunctionDef

every_module = pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)


def functions(module: Module) -> Iterator[Function]:
    return (node for node in ast.walk(module.tree) if isinstance(node, Function))


@every_module
def test_files_are_short(module: Module) -> None:
    assert module.text.count("\n") <= FILE_LINES


@every_module
def test_functions_are_short(module: Module) -> None:
    sizes = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions(module)}
    assert {name: size for name, size in sizes.items() if size > FUNCTION_LINES} == {}


@every_module
def test_nothing_is_left_for_later(module: Module) -> None:
    assert re.findall(r"\b(?:TODO|FIXME|XXX|HACK)\b", module.text) == []


def undocumented(body: list[ast.stmt], where: str) -> Iterator[str]:
    """Public functions and classes without a docstring, and the public methods of public classes."""
    for node in body:
        if not isinstance(node, (*Function.__args__, ast.ClassDef)) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None and not _is_overload_or_setter(node):
            yield f"{where}.{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node.body, f"{where}.{node.name}")


def _is_overload_or_setter(node: ast.stmt) -> bool:
    decorators = {ast.unparse(decorator) for decorator in getattr(node, "decorator_list", ())}
    return any(name.endswith(("overload", ".setter", "override")) for name in decorators)


@every_module
def test_what_is_public_is_documented(module: Module) -> None:
    assert ast.get_docstring(module.tree)
    assert list(undocumented(module.tree.body, module.name)) == []


@every_module
def test_nothing_runs_code_that_came_as_data(module: Module) -> None:
    assert {name.split(".")[0] for name in module.imports()}.isdisjoint({"pickle", "marshal", "shelve", "dill"})
    calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call)]
    called = {call.func.id for call in calls if isinstance(call.func, ast.Name)}
    assert called.isdisjoint({"eval", "exec", "compile", "__import__"})
    assert "os.system" not in {ast.unparse(call.func) for call in calls}
    shells = [
        key for call in calls for key in call.keywords if key.arg == "shell" and ast.unparse(key.value) != "False"
    ]
    assert shells == []
