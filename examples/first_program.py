"""An agent submits a tool call to a worker. Here the worker runs in the same program; usually it is a process:

taskserver worker --tools examples.first_program
"""

import asyncio
from pathlib import Path

from taskserver import Context, tool
from taskserver.testing import running_worker


@tool(timeout=600, max_retries=3)
async def summarize(path: str, max_words: int = 20, *, ctx: Context) -> str:
    words = Path(path).read_text().split()
    await ctx.progress(0.5, f"{len(words)} words read")
    return " ".join(words[:max_words])


async def main() -> None:
    async with running_worker(summarize) as client:
        job = await client.submit(summarize, {"path": __file__, "max_words": 3})
        print(await job.result(timeout=60))


if __name__ == "__main__":
    asyncio.run(main())
