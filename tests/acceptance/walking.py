"""Doing what a page says, word for word: its files are written and its commands typed, one after the other."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# ([\w/]+\.py)\n")
INSTALLS = ("python3 -m venv", "pip install")


class Walk(NamedTuple):
    """What a page's commands have printed."""

    code: int
    out: str
    err: str


def section(page: str, start: str, end: str) -> str:
    """The part of a page between two headings."""
    text = "\n" + (ROOT / page).read_text("utf-8")
    return text.partition(f"\n{start}\n")[2].partition(f"\n{end}\n")[0]


def walk(text: str, folder: Path, env: dict[str, str]) -> Walk:
    """Write the files of a page and type its commands, in one shell.

    A worker that the page leaves in a terminal of its own runs in the background. Installing is left out.
    """
    script = ["set -e"]
    for language, block in _BLOCK.findall(text):
        if language == "python":
            name = _FILE.match(block)
            assert name, f"a program without the name of its file:\n{block}"
            (folder / name[1]).parent.mkdir(exist_ok=True)
            (folder / name[1]).write_text(block)
        else:
            lines = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
            script += [_typed(line) for line in lines if not line.startswith(INSTALLS)]
    script += ["kill %1 2>/dev/null || true", "wait"]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=PATIENCE,
    )  # fmt: skip
    return Walk(done.returncode, done.stdout, done.stderr)


def _typed(line: str) -> str:
    if "<id>" in line:
        return line.replace("<id>", "$(taskserver job list --limit 1 --json | grep -o 'default-[0-9a-z]*' | head -n 1)")
    in_own_terminal = line.startswith("taskserver worker") and "&" not in line
    return f"{line} &" if in_own_terminal else line
