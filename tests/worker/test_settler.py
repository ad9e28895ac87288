"""Reports and outcomes reach the broker in batches: complete, in order, and of a bearable size."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from taskserver import BrokerUnavailable, Client, Context, State, tool
from taskserver.domain.settlement import Defer, DeferLimits, Finish, Retry, Settlement
from taskserver.errors import BrokerDenied, BrokerError
from taskserver.store.broker.connection import Broker
from taskserver.worker import settler
from tests.patience import PATIENCE
from tests.worker.conftest import Hire


async def test_large_results_do_not_share_a_call(client: Client, hire: Hire, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    settle = settler.settle

    async def measured(broker: Any, queue: str, reports: Any, settlements: Any, patience: Any) -> Any:
        sizes.append(sum(len(getattr(each, "data", b"")) for each in settlements))
        return await settle(broker, queue, reports, settlements, patience)

    monkeypatch.setattr(settler, "settle", measured)
    everybody = asyncio.Barrier(20)

    @tool
    async def large() -> bytes:
        await everybody.wait()
        return bytes(700_000)

    await hire(large, concurrency=20)
    jobs = await client.submit_many((large, {}) for _ in range(20))
    for job in jobs:
        assert len(await job.result(timeout=PATIENCE)) == 700_000
    assert max(sizes) <= 1_400_000


@pytest.mark.parametrize(
    "settlement",
    [
        lambda data: Finish("job", 1, 1, State.FAILED, data, b"normal/1-1"),
        lambda data: Retry("job", 1, 0, data),
        lambda data: Defer("job", 1, data),
    ],
    ids=["finish", "retry", "defer"],
)
async def test_every_kind_of_settlement_counts_for_the_size_of_a_batch(
    monkeypatch: pytest.MonkeyPatch, settlement: Callable[[bytes], Settlement]
) -> None:
    batches: list[int] = []

    async def noted(_: Any, queue: str, reports: Any, settlements: Any, patience: Any) -> list[Any]:
        batches.append(len(settlements))
        return []

    monkeypatch.setattr(settler, "settle", noted)
    settling = settler.Settler(cast("Broker", None), "default", DeferLimits(0))
    for _ in range(4):
        settling.settle(settlement(bytes(400_000)))
    await settling.stop()
    assert batches == [2, 2]


async def test_reports_keep_their_order_and_come_before_the_end(client: Client, hire: Hire) -> None:
    @tool
    async def count(ctx: Context) -> str:
        for number in range(2_500):
            await ctx.emit(str(number))
        return "end"

    await hire(count)
    jobs = await client.submit_many((count, {}) for _ in range(2))
    for job in jobs:
        texts = [event.text async for event in job.events()]
        assert texts[-1_500:] == [str(number) for number in range(1_000, 2_500)]
        assert len(texts) == len(set(texts))
        assert await job.result(timeout=PATIENCE) == "end"


async def test_the_last_output_of_a_tool_arrives_on_a_fresh_broker(client: Client, hire: Hire) -> None:
    @tool
    async def quiet() -> None: ...

    @tool
    async def speak(ctx: Context) -> None:
        ctx.emit("last output")

    await hire(quiet, speak)
    await (await client.submit(quiet)).result(timeout=PATIENCE)  # the broker has no script of a report now
    job = await client.submit(speak)
    assert [event.text async for event in job.events()] == ["last output"]


async def test_reports_of_a_repeated_call_are_not_doubled(
    client: Client, hire: Hire, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = settler.settle
    lost = 0

    async def answer_lost(*args: Any) -> Any:
        nonlocal lost
        answer = await settle(*args)
        if lost < 3:
            lost += 1
            raise BrokerUnavailable("the answer was lost")
        return answer

    monkeypatch.setattr(settler, "settle", answer_lost)

    @tool
    async def count(ctx: Context) -> str:
        for number in range(10):
            ctx.emit(str(number))
        return "end"

    await hire(count)
    job = await client.submit(count)
    assert [event.text async for event in job.events()] == [str(number) for number in range(10)]
    assert await job.result(timeout=PATIENCE) == "end"
    assert lost


async def test_a_stopping_worker_goes_on_trying_to_settle(
    client: Client, hire: Hire, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = settler.settle
    failures = 0

    async def away(broker: Any, queue: str, reports: Any, settlements: Any, patience: Any) -> Any:
        nonlocal failures
        if settlements and failures < 4:
            failures += 1
            raise BrokerUnavailable("away")
        return await settle(broker, queue, reports, settlements, patience)

    monkeypatch.setattr(settler, "settle", away)
    begun, end = asyncio.Event(), asyncio.Event()

    @tool
    async def work() -> str:
        begun.set()
        await end.wait()
        return "done"

    hired = await hire(work, lease=60)
    job = await client.submit(work)
    await begun.wait()
    end.set()
    await hired.stop()
    assert failures == 4
    assert await job.result(timeout=PATIENCE) == "done"


@pytest.mark.parametrize("error", [BrokerDenied, BrokerError])
async def test_a_job_whose_end_is_refused_keeps_no_other_waiting(
    monkeypatch: pytest.MonkeyPatch, error: type[BrokerError]
) -> None:
    taken: list[str] = []
    refusing = True

    async def settle(_: Any, queue: str, reports: Any, settlements: Any, patience: Any) -> list[Any]:
        if refusing and any(each.key == "refused" for each in settlements):
            raise error("not this one")
        taken.extend(each.key for each in settlements)
        return []

    monkeypatch.setattr(settler, "settle", settle)
    settling = settler.Settler(cast("Broker", None), "default", DeferLimits(0))
    for key in ("refused", "one", "other"):
        settling.settle(Finish(key, 1, 1, State.SUCCEEDED, b"", b"normal/1-1"))
    if error is BrokerDenied:  # the right may be given back: it is kept
        with pytest.raises(BrokerDenied, match="not this one"):
            await settling.turn()
        assert (taken, settling.unsettled) == (["one", "other"], [("refused", 1)])
        refusing = False
    await settling.turn()
    assert settling.backlog == 0
    assert taken[:2] == ["one", "other"]
