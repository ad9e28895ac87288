"""Thousands of jobs through one client: submitted together, awaited as they end."""

import asyncio

from taskserver import tool
from taskserver.testing import running_worker


@tool
async def square(number: int) -> int:
    return number * number


async def main() -> None:
    async with running_worker(square, concurrency=100) as client:
        jobs = await client.submit_many([(square, {"number": number}) for number in range(2000)])
        first = await next(asyncio.as_completed([job.result() for job in jobs[:10]]))
        print(f"the first to come: {first}")
        print(f"the sum of all: {sum(await asyncio.gather(*(job.result() for job in jobs)))}")


if __name__ == "__main__":
    asyncio.run(main())
