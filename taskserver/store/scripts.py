"""The Lua scripts: one file per transition, each with the prelude in front."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import NamedTuple

_LUA = resources.files("taskserver.store") / "lua"
_PRELUDE = ("keys", "records", "entries", "ends")


class Script(NamedTuple):
    """A script as the broker gets it.

    Attributes:
        name: The file's name without ``.lua``.
        text: Its flags (first line), the prelude and the file.
        sha: What EVALSHA calls it by.
    """

    name: str
    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """The script ``lua/<name>.lua``, with the files of ``lua/prelude`` in front."""
    flags, _, body = (_LUA / f"{name}.lua").read_text("utf-8").partition("\n")
    prelude = [(_LUA / "prelude" / f"{part}.lua").read_text("utf-8") for part in _PRELUDE]
    text = "\n".join((flags, *prelude, body))
    # SHA-1 is the server's choice of name, not a safeguard.
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
