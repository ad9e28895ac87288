"""Names of queues and tools: what is allowed, and what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from taskserver.errors import ConfigError

_QUEUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_TOOL = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")


def check_queue_name(name: str) -> str:
    """Return ``name`` if a queue may be called so.

    Raises:
        ConfigError: if it is not 1 to 64 ASCII letters, digits, ``_``, ``.`` or ``-``, the first a letter or digit.
    """
    if not _QUEUE.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name a queue: use 1 to 64 letters, digits, '_', '.' or '-', the first a letter or digit"
        )
    return name


def check_tool_name(name: str) -> str:
    """Return ``name`` if a tool may be called so.

    Raises:
        ConfigError: if it is not 1 to 128 ASCII letters, digits, ``_``, ``.`` or ``-``, the first a letter or ``_``.
    """
    if not _TOOL.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name a tool: use 1 to 128 letters, digits, '_', '.' or '-', the first a letter or '_'"
        )
    return name


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence tail such as ``"; did you mean 'summarize'?"``, or nothing when no known name is near."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
