"""What the Lua scripts say of themselves in the comment right below their flags."""

from __future__ import annotations

from pathlib import Path

from taskserver.domain.job import State


def header(path: Path) -> list[str]:
    """The comment lines of a script, right below its flags."""
    _, *lines = path.read_text("utf-8").splitlines()
    end = next(position for position, line in enumerate(lines) if not line.startswith("--"))
    return lines[:end]


def edges(path: Path) -> set[tuple[State | None, State]]:
    """The moves of jobs that a script's header announces; None stands for no record."""
    line = next(line for line in header(path) if line.startswith("-- Transition: "))
    found: set[tuple[State | None, State]] = set()
    for edge in line.removeprefix("-- Transition: ").split(";"):
        sources, _, targets = edge.partition("->")
        found |= {(source, target) for source in _states(sources) for target in _states(targets) if target}
    return found


def _states(words: str) -> set[State | None]:
    named = {word.strip() for word in words.split("|")}
    return {State(word) if word in {state.value for state in State} else None for word in named}
