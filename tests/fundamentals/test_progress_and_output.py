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
        (EventKind.PROGRESS, 0.5, "[ 50%] half way\n"),
        (EventKind.OUTPUT, None, "Once upon "),
    ]


async def _collect(client: Client, job_id: str, after: str) -> list[str]:
    return [event.text async for event in client.job(job_id).events(after=after)]


async def test_a_reader_that_comes_late_gets_all_that_is_left_and_is_told_how_much_is_missing(
    client: Client, run_worker: RunWorker
) -> None:
    live: list[str] = []

    @tool
    async def count(limit: int, ctx: Context) -> None:
        for number in range(limit):
            while number - len(live) > 1_500:
                await asyncio.sleep(0)  # the live reader keeps up
            await ctx.emit(f"{number} ")

    async with run_worker(count):
        short, long = await client.submit(count, {"limit": 1_200}), await client.submit(count, {"limit": 9_000})
        async for event in long.events():
            live += [event.text]
        assert live == [f"{number} " for number in range(9_000)]
        await asyncio.gather(short.result(), long.result())
    assert [event.text async for event in short.events()] == [f"{number} " for number in range(1_200)]
    gap, *rest = [event async for event in long.events()]
    assert (gap.kind, gap.missing + len(rest)) == (EventKind.GAP, 9_000)
    assert str(gap) == f"[{gap.missing:,} events are missing here]\n"
    assert [event.text for event in rest] == [f"{number} " for number in range(gap.missing, 9_000)]
    assert [event.kind async for event in long.events(after=gap.cursor)] == [EventKind.OUTPUT] * len(rest)


async def test_printed_events_read_well_and_another_attempt_says_that_output_begins_again(
    client: Client, run_worker: RunWorker
) -> None:
    @tool(max_retries=2, retry_delay=0)
    async def write(ctx: Context) -> None:
        await ctx.emit("Once upon")
        if ctx.attempt < 3:
            raise ConnectionError("no ink")
        await ctx.progress(0.5, "half\nway")
        await ctx.emit(" a time\n")
        await ctx.progress(1)

    async with run_worker(write):
        job = await client.submit(write)
        await job.result()
    events = [event async for event in job.events()]
    assert "".join(map(str, events)) == (
        "Once upon\n-- attempt 2 --\nOnce upon\n-- attempt 3 --\nOnce upon\n[ 50%] half way\n a time\n[100%]\n"
    )
    _, second, *_ = events
    assert (second.kind, second.attempt) == (EventKind.ATTEMPT, 2)
    for number, event in enumerate(events, 1):
        assert [each async for each in job.events(after=event.cursor)] == events[number:]
