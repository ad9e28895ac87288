"""Loading the Lua scripts: one file per transition, each preceded by the part of the prelude that it uses."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

from taskserver.errors import TaskServerError

_LUA = resources.files("taskserver.store") / "lua"
PRELUDE = ("keys", "records", "entries", "ends")
"""Files of the prelude, in their order."""
_COMMENT = re.compile(r" *--.*")
_WORD = re.compile(r"[A-Za-z_]\w*")
_NAMES = re.compile(r"local (?:function )?(\w+(?:, \w+)*)")


class Script(NamedTuple):
    """A script, as it is sent to the broker.

    Attributes:
        name: The file's name without ``.lua``.
        text: Its flags (first line), the part of the prelude that it uses, and the file.
        sha: The hash by which EVALSHA calls it.
    """

    name: str
    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """The script ``lua/<name>.lua``, preceded by the part of ``lua/prelude`` that it uses.

    Raises:
        TaskServerError: if one of the files is missing.
    """
    flags, _, body = _read(_LUA / f"{name}.lua").partition("\n")
    text = "\n".join((flags, *_needed(body), body))
    # The server identifies scripts by SHA-1; it protects nothing.
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def load_scripts() -> None:
    """Read every script now: once the code on disk is replaced, a process would read another version's."""
    for file in _LUA.iterdir():
        if file.name.endswith(".lua"):
            script(file.name.removesuffix(".lua"))


def _read(file: Traversable) -> str:
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        raise TaskServerError(f"{file} is missing: install taskserver again") from None


def _needed(body: str) -> list[str]:
    """The statements of the prelude that a script uses, directly or not.

    Each call of a script executes its prelude, function by function: all of it would cost as much as ten commands.
    """
    words = _words(body)
    needed = []
    for statement in reversed(_statements()):
        names = _NAMES.match(statement)
        if names and not words.isdisjoint(names[1].split(", ")):
            words |= _words(statement)
            needed.append(statement)
    return needed[::-1]


@cache
def _statements() -> list[str]:
    """The statements of the prelude: each begins a line with ``local``."""
    prelude = "\n".join(_read(_LUA / "prelude" / f"{part}.lua") for part in PRELUDE)
    statements = re.split(r"^(?=local )", _COMMENT.sub("", prelude), flags=re.MULTILINE)
    return [statement.strip() for statement in statements]


def _words(lua: str) -> set[str]:
    return set(_WORD.findall(_COMMENT.sub("", lua)))
