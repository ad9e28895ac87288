"""``python -m tests.faults.guards.page``: write the table of guards into the docs."""

from __future__ import annotations

from pathlib import Path

from tests.faults.guards.guard import KINDS
from tests.faults.guards.table import GUARDS

PAGE = Path(__file__).parents[3] / "docs" / "guards.md"
BEGIN = "<!-- the table: written by python -m tests.faults.guards.page -->"


def page() -> str:
    """Everything from ``BEGIN`` on: the kinds, and for each script its guards."""
    lines = [BEGIN, "", "| kind | what it holds |", "|---|---|"]
    lines += [f"| {kind} | {meaning} |" for kind, meaning in KINDS.items()]
    for script in sorted({guard.script for guard in GUARDS}):
        lines += [
            "",
            f"## {script}",
            "",
            "| guard | kind | without it | the test that misses it |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {guard.name} | {guard.kind} | {guard.wrong} | `{guard.missed_by}` in `{guard.missed_by.path}` |"
            for guard in GUARDS
            if guard.script == script
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text("utf-8").partition(BEGIN)[0] + page(), "utf-8")
