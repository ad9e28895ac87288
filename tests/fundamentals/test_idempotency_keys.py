"""The same key is the same job, however often and wherever it is submitted."""

import asyncio
from typing import Any

import pytest

from taskserver import (
    BaseMessage,
    BrokerUnavailable,
    Client,
    ConfigError,
    Context,
    Inspector,
    JobConflict,
    JobFailed,
    State,
    tool,
)
from taskserver.store.queries import jobs as job_queries
from tests.conftest import RunWorker


async def test_one_key_one_job(client: Client, broker_url: str, run_worker: RunWorker) -> None:
    seen: list[str] = []

    @tool
    async def pay(ctx: Context) -> int:
        seen.append(ctx.idempotency_key)
        return len(seen)

    async with Client(broker_url) as other:
        jobs = await asyncio.gather(
            *(each.submit(pay, idempotency_key="invoice 7") for each in (client, other) for _ in range(5))
        )
        assert len({job.id for job in jobs}) == 1
        async with run_worker(pay):
            assert [await job.result(timeout=60) for job in jobs] == [1] * 10
            again = await other.submit(pay, idempotency_key="invoice 7")  # after it has ended, too
            assert await again.result(timeout=60) == 1
    assert seen == ["invoice 7"]


async def test_without_a_key_the_jobs_id_is_used(client: Client, run_worker: RunWorker) -> None:
    @tool
    async def which(ctx: Context) -> str:
        return ctx.idempotency_key

    async with run_worker(which):
        job = await client.submit(which)
        assert await job.result(timeout=60) == job.id


class Order(BaseMessage):
    items: dict[str, int]


@tool(max_retries=0)
async def buy(items: dict[str, int], fails: bool = False) -> int:
    if fails:
        raise ValueError("sold out")
    return sum(items.values())


ONE = {"items": {"tea": 1, "milk": 2}}
FAILS = {"items": {}, "fails": True}


async def test_a_key_that_was_used_before_tells_so(client: Client, run_worker: RunWorker) -> None:
    async with run_worker(buy):
        new = await client.submit(buy, ONE, idempotency_key="1")
        assert (await new.result(), new.existed) == (3, None)
        same = {"items": {"milk": 2, "tea": 1}}  # in another order
        again = await client.submit("buy", same, idempotency_key="1", tags=["late"])
        assert (again.id, again.existed, await again.result()) == (new.id, State.SUCCEEDED, 3)
        dead = await client.submit(buy, FAILS, idempotency_key="2")
        with pytest.raises(JobFailed):
            await dead.result()
        jobs = await client.submit_many([(buy, ONE), (buy, FAILS)], idempotency_key="many")
        await asyncio.gather(*(job.result() for job in jobs), return_exceptions=True)
        jobs = await client.submit_many([(buy, ONE), (buy, FAILS), (buy, ONE)], idempotency_key="many")
        assert [job.existed for job in jobs] == [State.SUCCEEDED, State.DEAD, None]


async def test_two_at_once_agree_on_who_was_first(client: Client) -> None:
    jobs = await asyncio.gather(*(client.submit(buy, ONE, idempotency_key="1") for _ in range(3)))
    assert [job.existed for job in jobs] == [None, State.QUEUED, State.QUEUED]


@pytest.mark.parametrize("ended", [False, True])
async def test_another_call_under_a_used_key_is_refused(client: Client, run_worker: RunWorker, ended: bool) -> None:
    job = await client.submit(buy, ONE, idempotency_key="1")
    if ended:
        async with run_worker(buy):
            await job.result()
    difference = "other arguments" if ended else "another value of fails, items"  # those of a success are gone
    sentence = f"key '1' belongs to job {job.id} already, which calls buy"
    with pytest.raises(JobConflict, match=f"{sentence} with {difference}: use a key of its own for each call$"):
        await client.submit(buy, {"items": {"tea": 2}, "fails": True}, idempotency_key="1")
    with pytest.raises(JobConflict, match=f"{sentence}, not sell: "):
        await client.submit("sell", ONE, idempotency_key="1", on_existing="rerun")
    with pytest.raises(JobConflict, match=f"{sentence}, not Order: ") as caught:
        await client.send(Order(items={"tea": 1}), idempotency_key="1")
    assert caught.value.job_id == job.id


async def test_a_conflict_among_many_leaves_the_others(client: Client, broker_url: str) -> None:
    first = await client.submit_many([(buy, ONE), (buy, FAILS)], idempotency_key="many")
    text = "key 'many/1' belongs to job .*; conflicting: 1 of 4 jobs; the others are submitted$"
    calls = [(buy, ONE), (buy, ONE), ("sell", {}), ("sell", {})]
    with pytest.raises(JobConflict, match=text) as caught:
        await client.submit_many(calls, idempotency_key="many")
    again, conflicting, *new = caught.value.acknowledged
    assert (caught.value.job_id, again, conflicting) == (first[1].id, first[0].id, None)
    assert [(await client.job(str(id_)).status()).tool for id_ in new] == ["sell", "sell"]
    async with Inspector(broker_url) as inspector:
        assert sorted(job.tool for job in await inspector.jobs()) == ["buy", "buy", "sell", "sell"]


async def test_a_conflict_is_one_although_the_other_job_cannot_be_read(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise BrokerUnavailable("away")

    await client.submit(buy, ONE, idempotency_key="1")
    monkeypatch.setattr(job_queries, "statuses", away)
    with pytest.raises(JobConflict, match="already, which is another call: use a key of its own for each call"):
        await client.submit("sell", idempotency_key="1")


async def test_an_ended_job_runs_again_if_the_submit_asks_for_it(client: Client, run_worker: RunWorker) -> None:
    works: list[bool] = []

    @tool(max_retries=0)
    async def call() -> int:
        if not works:
            raise ValueError("not yet")
        works.append(True)
        return len(works)

    async with run_worker(call):
        job = await client.submit(call, idempotency_key="1")
        with pytest.raises(JobFailed):
            await job.result()
        works.append(True)
        again = await client.submit(call, idempotency_key="1", on_existing="rerun", tags=["again"])
        assert (again.id, again.existed, await again.result()) == (job.id, State.DEAD, 2)
        status = await again.status()
        assert (status.attempt, status.tags, [record.event for record in status.history]) == (
            1,
            ["again"],
            ["dead", "requeue"],
        )
        third = await client.submit(call, idempotency_key="1", on_existing="rerun")  # its message is gone
        assert (third.existed, await third.result()) == (State.SUCCEEDED, 3)
        later = await client.submit(call, idempotency_key="1", on_existing="rerun", delay=600)
        assert (await later.status()).state is State.DELAYED
        same = await client.submit(call, idempotency_key="1", on_existing="raise")  # it has not ended
        assert same.existed is State.DELAYED
        await same.cancel()
        with pytest.raises(JobConflict, match="has already ended: it is cancelled; submit with on_existing='rerun'"):
            await client.submit(call, idempotency_key="1", on_existing="raise")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"idempotency_key": "1", "on_existing": "replace"},
            "must be one of 'return', 'rerun', 'raise', not ",
        ),
        ({"on_existing": "rerun"}, "on_existing requires an idempotency_key"),
    ],
)
async def test_options_that_make_no_sense(client: Client, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        await client.submit(buy, ONE, **options)
