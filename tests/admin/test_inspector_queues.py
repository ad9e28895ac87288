"""Queues through the inspector: listed, paused, resumed, emptied, grown and forgotten."""

import pytest

from taskserver import Client, ConfigError, Inspector, State, tool
from tests.conftest import RunWorker
from tests.patience import PATIENCE


@tool
async def short() -> str:
    return "done"


async def test_queues_are_listed_with_their_figures(inspector: Inspector, client: Client) -> None:
    await client.submit("anything", priority="high")
    await client.submit("anything", queue="mail", delay=60)
    default, mail = await inspector.queues()
    assert (default.name, default.ready["high"], default.delayed) == ("default", 1, 0)
    assert (mail.name, mail.delayed, mail.workers) == ("mail", 1, [])
    assert await inspector.queue("mail") == mail


async def test_an_unknown_queue_is_refused_with_the_nearest_name(inspector: Inspector, client: Client) -> None:
    await client.submit("anything", queue="mail")
    with pytest.raises(ConfigError, match="no queue 'male' at this broker; did you mean 'mail'"):
        await inspector.pause("male")
    for searched in (
        inspector.jobs(queue="male"),
        inspector.count_dead_letters("male"),
        inspector.workers(queue="male"),
    ):
        with pytest.raises(ConfigError, match="did you mean 'mail'"):
            await searched
    with pytest.raises(ConfigError, match="no queue 'mail~1'"):
        await inspector.causes(queue="mail~1")
    assert [job.queue for job in await inspector.jobs(queue="mail")] == ["mail"]


async def test_a_paused_queue_takes_jobs_and_starts_none(
    inspector: Inspector, client: Client, run_worker: RunWorker
) -> None:
    async with run_worker(short):
        assert await (await client.submit(short)).result(timeout=PATIENCE) == "done"
        await inspector.pause("default")
        assert (await inspector.queue("default")).paused
        job = await client.submit(short)
        assert (await job.status()).state is State.QUEUED
        await inspector.resume("default")
        assert await job.result(timeout=PATIENCE) == "done"


async def test_purge_cancels_what_waits(inspector: Inspector, client: Client) -> None:
    jobs = [await client.submit("anything"), await client.submit("anything", delay=60)]
    assert await inspector.purge("default") == 2
    assert [(await job.status()).state for job in jobs] == [State.CANCELLED] * 2


async def test_a_queue_grows_and_does_not_shrink(inspector: Inspector) -> None:
    await inspector.set_partitions("mail", 3)
    assert await inspector.partitions("mail") == 3
    assert [part.name for part in await inspector.queues(each_partition=True)] == ["mail", "mail~1", "mail~2"]
    assert [queue.partitions for queue in await inspector.queues()] == [3]
    with pytest.raises(ConfigError, match="has 3 partitions"):
        await inspector.set_partitions("mail", 2)
    with pytest.raises(ConfigError, match="mail~1"):
        await inspector.set_partitions("mail~1", 2)


async def test_a_queue_that_is_in_use_is_not_forgotten(inspector: Inspector, client: Client) -> None:
    await client.submit("anything")
    assert not await inspector.forget("default")
    assert [queue.name for queue in await inspector.queues()] == ["default"]
