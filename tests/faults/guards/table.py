"""All rows, and the conditions that no row covers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.architecture.package import LUA
from tests.faults.guards.attempts import ATTEMPTS
from tests.faults.guards.audit import AUDIT
from tests.faults.guards.background import BACKGROUND
from tests.faults.guards.clients import CLIENTS
from tests.faults.guards.guard import text_of
from tests.faults.guards.records import RECORDS

GUARDS = [*ATTEMPTS, *CLIENTS, *BACKGROUND, *RECORDS, *AUDIT]
FILES = sorted(path.relative_to(LUA).with_suffix("").as_posix() for path in LUA.rglob("*.lua"))
CONDITION = re.compile(r"\b(?:if|elseif|and)\b")


def uncovered(file: str) -> Iterator[str]:
    """Lines of a Lua file that decide something, and that no guard's text touches; without their comments."""
    text = text_of(file)
    touched = [(start, start + len(guard.source)) for guard in GUARDS if (start := text.find(guard.source)) >= 0]
    position = 0
    for line in text.splitlines(keepends=True):
        end = position + len(line)
        code = line.partition("--")[0].strip()
        if CONDITION.search(code) and not any(start < end and position < stop for start, stop in touched):
            yield code
        position = end
