"""Urgent jobs go first, and the others still get their share."""

import asyncio

from taskserver import Client, tool
from tests.conftest import RunWorker


async def test_high_before_low_but_low_does_not_starve(client: Client, run_worker: RunWorker) -> None:
    order: list[str] = []

    @tool
    async def note(priority: str) -> None:
        order.append(priority)

    jobs = [
        await client.submit(note, {"priority": priority}, priority=priority)
        for priority in ("low", "normal", "high")
        for _ in range(20)
    ]
    async with run_worker(note, concurrency=1):
        await asyncio.gather(*(job.result(timeout=60) for job in jobs))
    assert order[0] == "high"
    assert order[:20].count("high") > order[:20].count("normal") > order[:20].count("low") > 0


async def test_numbers_are_priorities_too(client: Client) -> None:
    lanes = [(await (await client.submit("anything", priority=number)).status()).lane for number in (1, 5, 10)]
    assert lanes == ["high", "normal", "low"]
