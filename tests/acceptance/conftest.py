"""Fixtures for the command line: each test runs it as real processes, in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.cli import Cli


@pytest.fixture
def cli(one_broker_url: str, tmp_path: Path) -> Iterator[Cli]:
    """The command line with an empty broker, and the tools of ``agent_tools.py`` at hand."""
    cli = Cli(tmp_path, {"TASKSERVER_BROKER_URL": one_broker_url})
    yield cli
    cli.close()


@pytest.fixture
def embedded_cli(tmp_path: Path) -> Iterator[Cli]:
    """The command line without a broker's URL; its embedded broker is stopped in the end."""
    cli = Cli(tmp_path, {})
    yield cli
    cli.close()
    cli.run("broker", "stop", "--force")
