"""What strangers meet around the code: the workflow of a public forge, the changelog, the package's page."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yaml").read_text())


def test_every_supported_python_is_tested_with_the_two_commands() -> None:
    tests = WORKFLOW["jobs"]["test"]
    named = [re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", each) for each in PROJECT["classifiers"]]
    assert tests["strategy"]["matrix"]["python"] == [found[1] for found in named if found]
    commands = [step["run"] for step in tests["steps"] if "run" in step]
    assert commands[-2:] == ["make demo", "make check test"]
    assert {"make demo", "make check test"} <= set((ROOT / ".ci" / "run").read_text().splitlines())


def test_a_workflow_of_strangers_may_only_read() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}


def test_the_changelog_is_in_the_form_that_a_release_needs() -> None:
    first, *released = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+, \d{4}-\d\d-\d\d", each) for each in released)


def test_the_package_names_where_to_find_what() -> None:
    assert {"Source", "Documentation", "Changelog", "Issues"} <= set(PROJECT["urls"])
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert all("==" in each for each in requires)
