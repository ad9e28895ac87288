"""The rules of the house: small files and functions, docstrings, nothing unfinished, nothing that runs foreign code."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator

from tests.architecture.package import Module, modules

FILE_LINES = 400
FUNCTION_LINES = 50
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(module: Module) -> Iterator[Function]:
    return (node for node in ast.walk(module.tree) if isinstance(node, Function))


def test_files_are_short() -> None:
    assert [module.name for module in modules() if module.text.count("\n") > FILE_LINES] == []


def test_functions_are_short() -> None:
    sizes = {
        f"{module.name}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for module in modules()
        for node in functions(module)
    }
    assert {name: size for name, size in sizes.items() if size > FUNCTION_LINES} == {}


def test_class_names_are_unique() -> None:
    """One word for one thing: nobody has to look which of two is meant."""
    classes = Counter(
        node.name for module in modules() for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)
    )
    assert [name for name, number in classes.items() if number > 1] == []


def test_nothing_is_left_for_later() -> None:
    assert [module.name for module in modules() if re.search(r"\b(?:TODO|FIXME|XXX|HACK)\b", module.text)] == []


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


def test_what_is_public_is_documented() -> None:
    assert [module.name for module in modules() if not ast.get_docstring(module.tree)] == []
    assert [name for module in modules() for name in undocumented(module.tree.body, module.name)] == []


def test_nothing_runs_code_that_came_as_data() -> None:
    loaders = {"pickle", "marshal", "shelve", "dill"}
    assert [module.name for module in modules() if loaders & {name.split(".")[0] for name in module.imports()}] == []
    runners = {"eval", "exec", "compile", "__import__", "os.system"}
    calls = [
        (module.name, node) for module in modules() for node in ast.walk(module.tree) if isinstance(node, ast.Call)
    ]
    assert [name for name, call in calls if ast.unparse(call.func) in runners] == []
    keys = [(name, key) for name, call in calls for key in call.keywords if key.arg == "shell"]
    assert [name for name, key in keys if ast.unparse(key.value) != "False"] == []
