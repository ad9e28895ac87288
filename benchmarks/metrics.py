"""What metrics cost: worker CPU a job with and without them, runs taken in turn. ``python -m benchmarks.metrics``."""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics

from benchmarks.scenarios import drain
from benchmarks.server import Server


async def _measure(jobs: int, rounds: int, concurrency: int) -> None:
    figures: dict[str, list[float]] = {"without": [], "with": []}
    async with Server(None) as server:
        for number in range(2 * rounds):
            way = ("without", "with")[(number + number // 2) % 2]  # which one goes first changes
            os.environ.pop("TASKSERVER_METRICS_PORT", None)
            if way == "with":
                os.environ["TASKSERVER_METRICS_PORT"] = "0"
            figures[way].append((await drain(concurrency)(server, jobs)).worker_us)
    without, with_ = (min(figures[way]) for way in ("without", "with"))  # whatever else runs can only add
    for way, each in figures.items():
        print(f"{way:8} metrics: {statistics.median(each):.2f} µs a job ({min(each):.2f} … {max(each):.2f})")
    print(f"least disturbed runs: {with_ - without:+.2f} µs a job, {(with_ / without - 1) * 100:+.1f} %")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind")
    parser.add_argument("--concurrency", type=int, default=100)
    given = parser.parse_args()
    asyncio.run(_measure(given.jobs, given.rounds, given.concurrency))


if __name__ == "__main__":
    main()
