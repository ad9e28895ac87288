"""An ended attempt is gone at once: to collect what waits in circles for it cost a worker a quarter of its time."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from taskserver import Client, Context, State, tool
from taskserver.worker.attempt import Attempt
from tests.worker.conftest import Hire


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Nothing is freed but by its last reference."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@tool
async def returns(ctx: Context) -> int:
    await asyncio.sleep(0)
    return ctx.attempt


@tool(max_retries=0)
async def fails(ctx: Context) -> int:
    await asyncio.sleep(0)
    raise ValueError(ctx.attempt)


@tool
async def returns_at_once() -> int:
    return 1


@pytest.mark.parametrize("each", [returns, returns_at_once, fails])
async def test_an_ended_attempt_leaves_nothing_to_the_garbage_collector(
    client: Client, hire: Hire, each: object
) -> None:
    before = _attempts()
    await hire(each, concurrency=5)
    jobs = await client.submit_many([(each, {})] * 20)  # type: ignore[list-item]
    while [job for job in jobs if not (await job.status()).state.ended]:
        await asyncio.sleep(0.01)
    assert (await jobs[0].status()).state is (State.DEAD if each is fails else State.SUCCEEDED)
    assert len(_attempts()) == len(before)


def _attempts() -> list[object]:
    return [found for found in gc.get_objects() if type(found) in (Attempt, Context)]
