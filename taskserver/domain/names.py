"""Names of queues and tools: which are valid, and which one was probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from taskserver.errors import ConfigError

_QUEUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_TOOL = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")


def check_queue_name(name: str) -> str:
    """Return ``name`` if it is a valid queue name.

    Raises:
        ConfigError: if it is not 1 to 64 ASCII letters, digits, ``_``, ``.`` or ``-``, starting with a letter or digit.
    """
    if not _QUEUE.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a valid queue name: use 1 to 64 letters, digits, '_', '.' or '-', "
            "starting with a letter or digit"
        )
    return name


def check_tool_name(name: str) -> str:
    """Return ``name`` if it is a valid tool name.

    Raises:
        ConfigError: if it is not 1 to 128 ASCII letters, digits, ``_``, ``.`` or ``-``, starting with a letter
            or ``_``.
    """
    if not _TOOL.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a valid tool name: use 1 to 128 letters, digits, '_', '.' or '-', "
            "starting with a letter or '_'"
        )
    return name


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence, such as ``"; did you mean 'summarize'?"``; empty if no known name is similar."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
