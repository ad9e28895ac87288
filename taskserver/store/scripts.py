"""The Lua scripts: one file per transition, each with what it needs of the prelude in front."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib import resources
from typing import NamedTuple

_LUA = resources.files("taskserver.store") / "lua"
PRELUDE = ("keys", "records", "entries", "ends")
"""Files of the prelude, in the order in which they stand."""
_COMMENT = re.compile(r" *--.*")
_WORD = re.compile(r"[A-Za-z_]\w*")
_NAMES = re.compile(r"local (?:function )?(\w+(?:, \w+)*)")


class Script(NamedTuple):
    """A script as the broker gets it.

    Attributes:
        name: The file's name without ``.lua``.
        text: Its flags (first line), what it needs of the prelude, and the file.
        sha: What EVALSHA calls it by.
    """

    name: str
    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """The script ``lua/<name>.lua``, with what it needs of the files in ``lua/prelude`` in front."""
    flags, _, body = (_LUA / f"{name}.lua").read_text("utf-8").partition("\n")
    text = "\n".join((flags, *_needed(body), body))
    # SHA-1 is the server's choice of name, not a safeguard.
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _needed(body: str) -> list[str]:
    """The statements of the prelude that a script uses, and those that these use.

    Each call of a script carries the prelude out, function by function: all of it costs as much as ten commands.
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
    """The prelude, statement by statement: each begins a line, and with ``local``."""
    prelude = "\n".join((_LUA / "prelude" / f"{part}.lua").read_text("utf-8") for part in PRELUDE)
    statements = re.split(r"^(?=local )", _COMMENT.sub("", prelude), flags=re.MULTILINE)
    return [statement.strip() for statement in statements]


def _words(lua: str) -> set[str]:
    return set(_WORD.findall(_COMMENT.sub("", lua)))
