"""Reads what agents need from a docstring: its first paragraph, and a Google-style ``Args:`` section."""

from __future__ import annotations

import inspect
import re
import textwrap

_SECTION = re.compile(r"(Args|Arguments|Parameters):\s*")
_ENTRY = re.compile(r"(\w+)\s*(?:\([^)]*\))?:\s*(.*)")


def summary(doc: str | None) -> str:
    """The first paragraph of a docstring as one line; empty if there is none."""
    paragraph = inspect.cleandoc(doc or "").partition("\n\n")[0]
    return "" if _SECTION.match(paragraph) else " ".join(paragraph.split())


def documented_parameters(doc: str | None) -> dict[str, str]:
    """The description of each parameter in the ``Args:`` section of a docstring, each as one line."""
    found: dict[str, str] = {}
    name = ""
    for line in _section(doc):
        entry = _ENTRY.fullmatch(line)
        if entry:
            name, found[entry[1]] = entry[1], entry[2].strip()
        elif name and line.startswith(" "):
            found[name] = f"{found[name]} {line.strip()}".strip()
    return {name: text for name, text in found.items() if text}


def _section(doc: str | None) -> list[str]:
    """The lines after ``Args:`` up to the next line that is not indented, without their common indentation."""
    lines = inspect.cleandoc(doc or "").splitlines()
    start = next((index + 1 for index, line in enumerate(lines) if _SECTION.fullmatch(line)), len(lines))
    end = next((index for index in range(start, len(lines)) if lines[index][:1].strip()), len(lines))
    return textwrap.dedent("\n".join(lines[start:end])).splitlines()
