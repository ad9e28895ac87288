"""CPU-bound tools run in processes: every core works, the event loop stays free, and a runaway is killed."""

import asyncio
import os

from taskserver import JobFailed, tool
from taskserver.testing import running_worker


@tool(runs_in="process", max_memory="512MB")
def count_primes(below: int) -> tuple[int, int]:
    primes = sum(all(number % divisor for divisor in range(2, int(number**0.5) + 1)) for number in range(2, below))
    return primes, os.getpid()


@tool(runs_in="process", timeout=5, max_retries=0)
def runaway() -> None:
    while True:
        pass


async def main() -> None:
    async with running_worker(count_primes, runaway, concurrency=2) as client:
        jobs = await client.submit_many([(count_primes, {"below": 50_000})] * 4)
        results = await asyncio.gather(*(job.result() for job in jobs))
        print(f"{results[0][0]} primes, counted by others: {os.getpid() not in {process for _, process in results}}")
        try:
            await (await client.submit(runaway)).result()
        except JobFailed as error:
            print(f"{error.error_type}: {error.error_message}")


if __name__ == "__main__":
    # The processes import the module of their tools, so this program's tools must not be those of `__main__`.
    from importlib import import_module

    asyncio.run(import_module("cpu_bound").main())
