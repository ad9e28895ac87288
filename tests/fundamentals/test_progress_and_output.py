"""A running tool reports progress and output; any client can follow them, live or later."""

import asyncio

from taskserver import Client, Context, EventKind, tool
from tests.conftest import RunWorker


async def test_events_are_followed_live_and_resumed_by_another_client(
    client: Client, broker_url: str, run_worker: RunWorker
) -> None:
    more = asyncio.Event()

    @tool
    async def write(ctx: Context) -> str:
        await ctx.progress(0.5, "half way")
        await ctx.emit("Once upon ")
        await more.wait()
        await ctx.emit("a time")
        return "the end"

    async with run_worker(write):
        job = await client.submit(write)
        seen = []
        async for event in job.events():  # the tool is still running
            seen.append(event)
            if len(seen) == 2:
                break
        assert (await job.status()).progress_text == "half way"
        async with Client(broker_url) as other:
            rest = asyncio.create_task(_collect(other, job.id, after=seen[-1].cursor))
            more.set()
            assert await rest == ["a time"]
    assert [(event.kind, event.progress, str(event)) for event in seen] == [
        (EventKind.PROGRESS, 0.5, "half way"),
        (EventKind.OUTPUT, None, "Once upon "),
    ]


async def _collect(client: Client, job_id: str, after: str) -> list[str]:
    return [event.text async for event in client.job(job_id).events(after=after)]
