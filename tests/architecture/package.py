"""The package as its source says it is: modules, imports and scripts. Nothing is imported to find out."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = "taskserver"
ROOT = Path(__file__).resolve().parents[2] / PACKAGE
LUA = ROOT / "store" / "lua"


class Module(NamedTuple):
    """A source file of the package."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The folder or single file right below the package; empty for the package itself."""
        return ([*self.name.split("."), ""])[1]

    def imports(self) -> set[str]:
        """Everything that it imports, wherever in the file: also for type checking only, also inside functions."""
        known = {module.name for module in _named()}
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node)
                found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names}
        return found - {self.name}

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        here = self.name.split(".") if self.path.name == "__init__.py" else self.name.split(".")[:-1]
        here = here[: len(here) - node.level + 1]
        return ".".join([*here, node.module] if node.module else here)


class _Named(NamedTuple):
    name: str
    path: Path


@cache
def _named() -> tuple[_Named, ...]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found.append(_Named(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return tuple(found)


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the package."""
    found = []
    for name, path in _named():
        text = path.read_text("utf-8")
        found.append(Module(name, path, text, ast.parse(text)))
    return tuple(found)


@cache
def scripts() -> tuple[Path, ...]:
    """Every Lua script; the prelude's files, which are part of all of them, are in a folder of their own."""
    return tuple(sorted(LUA.glob("*.lua")))
