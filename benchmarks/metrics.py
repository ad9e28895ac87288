"""What metrics cost: drain rate and worker CPU with and without them, in turn. ``python -m benchmarks.metrics``."""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics

from benchmarks.scenarios import Figure, drain
from benchmarks.server import Server


async def _measure(jobs: int, rounds: int, concurrency: int) -> None:
    runs: dict[str, list[Figure]] = {"without": [], "with": []}
    async with Server(None) as server:
        for number in range(2 * rounds):
            way = ("without", "with")[(number + number // 2) % 2]  # which one goes first changes
            os.environ.pop("TASKSERVER_METRICS_PORT", None)
            if way == "with":
                os.environ["TASKSERVER_METRICS_PORT"] = "0"
            runs[way].append(await drain(concurrency)(server, jobs))
    rates = {way: statistics.median(run.value for run in each) for way, each in runs.items()}
    costs = {way: statistics.median(run.worker_us for run in each) for way, each in runs.items()}
    for way in runs:
        print(f"{way:8} metrics: {rates[way]:,.0f} jobs/s, {costs[way]:.2f} µs of worker CPU per job")
    print(f"with them: {_change(rates):+.1f} % jobs/s, {_change(costs):+.1f} % worker CPU")


def _change(figures: dict[str, float]) -> float:
    return (figures["with"] / figures["without"] - 1) * 100


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind")
    parser.add_argument("--concurrency", type=int, default=100)
    given = parser.parse_args()
    asyncio.run(_measure(given.jobs, given.rounds, given.concurrency))


if __name__ == "__main__":
    main()
