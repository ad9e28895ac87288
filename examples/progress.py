"""Follow a long tool live, lose the connection in between, and continue after the last event seen."""

import asyncio

from taskserver import Client, Context, EventKind, tool
from taskserver.testing import running_worker

CITIES = ["Lagos", "Lima", "London", "Lyon"]


@tool
async def visit(cities: list[str], *, ctx: Context) -> int:
    for number, city in enumerate(cities, 1):
        await ctx.progress(number / len(cities), f"in {city}")
        await ctx.emit(f"{city} is nice. ")
    return len(cities)


async def main() -> None:
    async with running_worker(visit):
        async with Client() as client:
            job = await client.submit(visit, {"cities": CITIES})
            async for event in job.events():
                if event.kind is EventKind.OUTPUT:
                    print(event)
                    break  # seen this far
        async with Client() as another:
            async for later in another.job(job.id).events(after=event.cursor):
                print(f"{later.progress:.0%}" if later.progress else later)


if __name__ == "__main__":
    asyncio.run(main())
