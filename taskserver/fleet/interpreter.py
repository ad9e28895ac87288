"""The command of a fresh Python interpreter for replicas and background processes."""

from __future__ import annotations

import sys
from pathlib import Path


def interpreter() -> list[str]:
    """The command that starts an interpreter with the same packages as this one."""
    # ``-m`` looks into the current folder first, where a user's module may have the name of one that is needed
    # before the tools are loaded. It must look there only if this package itself is there.
    here = Path(__file__).resolve().parents[2] == Path.cwd()
    return [sys.executable] if here else [sys.executable, "-P"]
