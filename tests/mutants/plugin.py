"""A pytest plugin for mutmut's runs: one broker is enough, and what a test's other processes entered counts as well."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mutmut.state import state

KIND = "valkey"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What a test says of one broker it says of the other: mutants are of Python code."""
    others = [
        item
        for item in items
        if (spec := getattr(item, "callspec", None)) and spec.params.get("broker_url", KIND) != KIND
    ]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """Before mutmut assigns the functions entered during this test to it."""
    hits = Path(os.environ["MUTANTS_HITS"])
    if os.environ.get("MUTANT_UNDER_TEST") == "stats" and hits.exists():
        state()._stats.update(hits.read_text().split())
        hits.write_text("")
