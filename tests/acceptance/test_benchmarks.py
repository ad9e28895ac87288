"""Every scenario of ``make bench`` runs: they use more of the inside than any other program."""

from __future__ import annotations

import pytest

from benchmarks.scenarios import SCENARIOS
from benchmarks.server import Server


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_scenario_gives_a_figure(name: str) -> None:
    async with Server(None) as server:
        figure = await SCENARIOS[name][1](server, 200)
    assert figure.value > 0
