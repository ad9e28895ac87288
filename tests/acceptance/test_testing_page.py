"""The page about testing works as it is written: its files are written, and its tests pass."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.acceptance.walking import section, walk


def test_the_tests_on_the_page_pass(tmp_path: Path) -> None:
    commands = Path(sys.executable).parent
    env = {name: text for name, text in os.environ.items() if not name.startswith(("TASKSERVER_", "PYTEST_"))}
    path = os.pathsep.join((str(commands), os.environ["PATH"]))
    done = walk(section("docs/testing.md", "# Testing", "## With pytest"), tmp_path, {**env, "PATH": path})
    assert done.code == 0, done
    assert "5 passed" in done.out
