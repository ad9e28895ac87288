"""A claim whose answer was lost: what it gave goes back unspent, and what the worker runs stays."""

from __future__ import annotations

from taskserver.domain.ids import new_key
from taskserver.domain.job import NewJob, State
from taskserver.domain.messages import Envelope, ToolExecutionMessage, pack
from taskserver.domain.settlement import Finish, Patience
from taskserver.store.claiming import claim
from taskserver.store.connection import Broker
from taskserver.store.reading import statuses
from taskserver.store.recovering import recall
from taskserver.store.settling import settle
from taskserver.store.submitting import submit

PAYLOAD = pack(Envelope.of(ToolExecutionMessage(tool_name="t"), b"\x80"))


async def given(broker: Broker, count: int) -> list[str]:
    """Keys of jobs that have been claimed by worker ``w``."""
    keys = [new_key("route0") for _ in range(count)]
    await submit(broker, "q", [NewJob(key, PAYLOAD) for key in keys])
    await claim(broker, "q", "w", (0, count, 0), 4)
    return keys


async def test_jobs_that_the_worker_does_not_know_of_go_back_unspent(broker: Broker) -> None:
    keys = await given(broker, 3)
    assert sorted(await recall(broker, "q", "w", running=[])) == sorted(keys)
    for status in await statuses(broker, "q", keys):
        assert status is not None
        assert (status.state, status.attempt) == (State.QUEUED, 0)


async def test_jobs_that_it_runs_stay(broker: Broker) -> None:
    known, unknown = await given(broker, 2)
    assert await recall(broker, "q", "w", running=[known]) == [unknown]


async def test_a_recalled_job_can_be_claimed_and_the_lost_claim_cannot_finish_it(broker: Broker) -> None:
    (key,) = await given(broker, 1)
    await recall(broker, "q", "w", running=[])
    (job,) = (await claim(broker, "q", "w", (0, 1, 0), 4)).jobs
    assert (job.key, job.attempt) == (key, 1)
    lost = Finish(key, 1, 1, State.SUCCEEDED, b"\xc0")
    (refusal,) = await settle(broker, "q", [], [lost], Patience(1000))
    assert refusal.reason == "stale"


async def test_another_workers_jobs_stay(broker: Broker) -> None:
    await given(broker, 2)
    assert await recall(broker, "q", "other", running=[]) == []
