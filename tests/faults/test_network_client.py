"""Whatever happens to a connection while a client is asked for something: the answer is right, and so are the jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple

import pytest

from taskserver import BaseMessage, BrokerUnavailable, Client, ClientUnusable, State
from taskserver.domain.job import ClaimedJob
from taskserver.store.broker import connections, health
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs import admin, claim, settle
from taskserver.store.queries import jobs as job_queries
from taskserver.store.queries import queues, search
from taskserver.store.queries.outcomes import read_outcomes
from tests.clients import broker_of
from tests.conftest import Eventually
from tests.faults.proxy import Fault, How, Proxy
from tests.patience import PATIENCE
from tests.store.harness import PATIENT, fail, new_job, says, submit_all, succeed


class Connected:
    """A queue of its own, by a way that does not break, and a client that has only the proxy's."""

    def __init__(self, broker: Broker, queue: str, client: Client) -> None:
        self.broker = broker
        self.queue = queue
        self.client = client

    @property
    def far(self) -> Broker:
        assert self.client._once.opened is not None
        return self.client._once.opened.broker

    async def queued(self) -> str:
        job = new_job()
        await submit_all(self.broker, self.queue, [job])
        return job.key

    async def running(self) -> ClaimedJob:
        await self.queued()
        (job,) = (await claim.claim(self.broker, self.queue, "w", (1, 0, 0), 10)).jobs
        return job

    async def succeeded(self) -> str:
        job = await self.running()
        await settle.settle(self.broker, self.queue, [says(job, 1, "words")], [succeed(job)], PATIENT)
        return job.key

    async def dead(self) -> str:
        job = await self.running()
        await settle.settle(self.broker, self.queue, [], [fail(job, State.DEAD)], PATIENT)
        return job.key

    async def states(self) -> list[State]:
        """Of all jobs."""
        keys = [key async for page in job_queries.scan(self.broker, self.queue) for key in page]
        found = await read_outcomes(self.broker, self.queue, keys)
        return [outcome.state for outcome in found if outcome is not None]

    async def entries(self) -> int:
        lanes = [self.broker.keys(self.queue).lane(lane) for lane in ("returned", "high", "normal", "low")]
        return sum([await self.broker.client(self.broker.url).xlen(lane) for lane in lanes])


class Greeting(BaseMessage):
    text: str


# What a client is asked for: each sets the scene, and returns the question and what must be true of its answer.

Question = Callable[[], Awaitable[Any]]
Right = Callable[[Any], Awaitable[bool]]
Call = Callable[[Connected], Awaitable[tuple[Question, Right]]]


async def submit(at: Connected) -> tuple[Question, Right]:
    async def right(_: Any) -> bool:
        return await at.states() == [State.QUEUED] and await at.entries() == 1

    return lambda: at.client.submit("add", {"a": 1}, idempotency_key="k"), right


async def submit_many(at: Connected) -> tuple[Question, Right]:
    async def right(jobs: Any) -> bool:
        return len(jobs) == await at.entries() == len(await at.states()) == 3

    return lambda: at.client.submit_many([("add", {"a": n}) for n in range(3)], idempotency_key="k"), right


async def send(at: Connected) -> tuple[Question, Right]:
    async def right(job: Any) -> bool:
        return (await at.client.job(job.id).status()).state is State.QUEUED and await at.entries() == 1

    return lambda: at.client.send(Greeting(text="hello"), idempotency_key="k"), right


async def status(at: Connected) -> tuple[Question, Right]:
    job = at.client.job(f"{at.queue}-{await at.queued()}")
    return job.status, _equals(State.QUEUED, of=lambda status: status.state)


async def result(at: Connected) -> tuple[Question, Right]:
    job = at.client.job(f"{at.queue}-{await at.succeeded()}")
    return lambda: job.result(timeout=PATIENCE), _equals(42)


async def events(at: Connected) -> tuple[Question, Right]:
    job = at.client.job(f"{at.queue}-{await at.succeeded()}")

    async def follow() -> list[str]:
        return [event.text async for event in job.events()]

    return follow, _equals(["words"])


async def cancel(at: Connected) -> tuple[Question, Right]:
    job = at.client.job(f"{at.queue}-{await at.queued()}")

    async def right(state: Any) -> bool:
        return state is State.CANCELLED and await at.states() == [State.CANCELLED]

    return job.cancel, right


async def cancel_running(at: Connected) -> tuple[Question, Right]:
    job = at.client.job(f"{at.queue}-{(await at.running()).key}")

    async def right(state: Any) -> bool:
        return state is State.RUNNING and (await job.status()).cancel_requested

    return job.cancel, right


async def run_again(at: Connected) -> tuple[Question, Right]:
    job = at.client.job(f"{at.queue}-{await at.succeeded()}")

    async def right(_: Any) -> bool:
        history = [record.event for record in (await job.status()).history]
        return history == ["requeue"] and await at.states() == [State.QUEUED] and await at.entries() == 1

    return job.retry, right


async def pause(at: Connected) -> tuple[Question, Right]:
    async def right(_: Any) -> bool:
        return (await queues.info(at.broker, at.queue)).paused

    return lambda: admin.pause(at.far, at.queue), right


async def resume(at: Connected) -> tuple[Question, Right]:
    await admin.pause(at.broker, at.queue)

    async def right(_: Any) -> bool:
        return not (await queues.info(at.broker, at.queue)).paused

    return lambda: admin.resume(at.far, at.queue), right


async def purge(at: Connected) -> tuple[Question, Right]:
    for _ in range(3):
        await at.queued()

    async def right(count: Any) -> bool:
        return count == 3 and await at.states() == [State.CANCELLED] * 3 and await at.entries() == 0

    return lambda: admin.purge(at.far, at.queue), right


async def list_queues(at: Connected) -> tuple[Question, Right]:
    await at.queued()

    async def look() -> int:
        assert at.queue in await queues.names(at.far)
        return sum((await queues.info(at.far, at.queue)).ready.values())

    return look, _equals(1)


async def examine(at: Connected) -> tuple[Question, Right]:
    await at.queued()

    async def right(findings: Any) -> bool:
        return not [finding for finding in findings if finding.level == "error"]

    return lambda: health.examine_servers(at.far), right


async def list_jobs(at: Connected) -> tuple[Question, Right]:
    key = await at.queued()

    async def look() -> list[str]:
        return [job.id for job in await search.newest_jobs(at.far, [at.queue], search.JobFilter(), 10)]

    return look, _equals([f"{at.queue}-{key}"])


async def list_dead(at: Connected) -> tuple[Question, Right]:
    key = await at.dead()

    async def look() -> list[str]:
        return [job.id async for job in search.dead_letters(at.far, [at.queue], search.JobFilter())]

    return look, _equals([f"{at.queue}-{key}"])


async def requeue_dead(at: Connected) -> tuple[Question, Right]:
    keys = [await at.dead(), await at.dead()]

    async def right(replies: Any) -> bool:
        return replies == ["", ""] and await at.states() == [State.QUEUED] * 2 and await at.entries() == 2

    return lambda: admin.requeue(at.far, at.queue, keys), right


async def delete_dead(at: Connected) -> tuple[Question, Right]:
    keys = [await at.dead(), await at.dead()]

    async def right(count: Any) -> bool:
        return count == 2 and await at.states() == []

    return lambda: admin.delete_dead(at.far, at.queue, keys), right


def _equals(wanted: Any, of: Callable[[Any], Any] = lambda answer: answer) -> Right:
    async def right(answer: Any) -> bool:
        return bool(of(answer) == wanted)

    return right


CALLS = [
    submit, submit_many, send, status, result, events, cancel, cancel_running, run_again, pause, resume, purge,
    list_queues, list_jobs, list_dead, requeue_dead, delete_dead, examine,
]  # fmt: skip
every_call = pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)


class Trouble(NamedTuple):
    """What happens to the one request."""

    how: How
    request: int | None = None
    reply: int = 0


TROUBLES = [
    Trouble(How.CUT, request=0),
    Trouble(How.CUT, request=20),
    Trouble(How.CUT),
    *(Trouble(How.CUT, reply=n) for n in range(1, 5)),
    Trouble(How.HALF_CLOSE, request=20),
    Trouble(How.HALF_CLOSE),
    Trouble(How.HALF_CLOSE, reply=1),
    Trouble(How.HOLE, request=0),
    Trouble(How.HOLE, request=20),
    Trouble(How.HOLE),
    Trouble(How.HOLE, reply=1),
]


WORST = [Trouble(How.CUT, request=0), Trouble(How.CUT), Trouble(How.HOLE)]

Connect = Callable[[str], Awaitable[tuple[Proxy, Connected]]]


@pytest.fixture
async def connect(broker: Broker) -> AsyncIterator[Connect]:
    """Connect clients, each behind a proxy of its own."""
    made: list[tuple[Proxy, Connected]] = []

    async def make(queue: str) -> tuple[Proxy, Connected]:
        proxy = Proxy(broker.url)
        await proxy.start()
        client = Client(proxy.url, queue=queue)
        far = await broker_of(client)
        far.patience = PATIENCE
        await far.prepare(queue)
        made.append((proxy, Connected(broker, queue, client)))
        return made[-1]

    yield make
    for proxy, at in made:
        await at.client.close()
        await proxy.close()


AT_ONCE = 16


@every_call
async def test_one_request_in_trouble(proxy: Proxy, hasty: None, connect: Connect, call: Call) -> None:
    """Each of the requests that a call makes, in each kind of trouble."""
    quiet, at = await connect("counted")
    question, right = await call(at)
    seen = quiet.plan(Fault("", how=How.NOTHING, times=1_000))
    answer = await question()
    requests = seen.struck
    assert await right(answer)
    some = asyncio.Semaphore(AT_ONCE)

    async def troubled(number: int, trouble: Trouble) -> None:
        async with some:
            proxy, at = await connect(f"q{number}-{trouble.how.name.lower()}-{trouble.request}-{trouble.reply}")
            question, right = await call(at)
            fault = proxy.plan(Fault("", trouble.request, trouble.reply, trouble.how, skip=number))
            try:
                answer = await asyncio.wait_for(question(), PATIENCE)
            except BrokerUnavailable:
                assert call is examine  # the doctor tells what ails a broker
                return
            assert await right(answer), f"{trouble} of request {number}: {answer}"
            assert fault.struck or number

    first = [troubled(0, trouble) for trouble in TROUBLES]
    later = [troubled(number, trouble) for number in range(1, requests) for trouble in WORST]
    await asyncio.gather(*first, *later)


async def test_a_slow_network(proxy: Proxy, connect: Connect) -> None:
    """Half a second to the broker and back."""

    async def ask(call: Call) -> None:
        proxy, at = await connect(call.__name__)
        question, right = await call(at)
        proxy.delay = 0.25
        answer = await question()
        proxy.heal()
        assert await right(answer), call.__name__

    await asyncio.gather(*(ask(call) for call in CALLS if call is not examine))  # it looks at every queue there is


def falls_silent(proxy: Proxy) -> None:
    proxy.silent = True
    proxy.hole()


def trickles(proxy: Proxy) -> None:
    proxy.rate = 1


def hangs_up(proxy: Proxy) -> None:
    proxy.rejecting = True
    proxy.cut()


@pytest.mark.parametrize("breaks", [falls_silent, trickles, hangs_up])
async def test_a_network_that_is_gone_for_long(
    proxy: Proxy, hasty: None, connect: Connect, breaks: Callable[[Proxy], None]
) -> None:
    """Calls end in one error, and may be made again when it is back; those who wait for a job go on waiting."""

    async def ask(call: Call) -> None:
        proxy, at = await connect(call.__name__)
        at.far.patience = 1.0
        question, right = await call(at)
        breaks(proxy)
        asked = asyncio.create_task(question())
        if call in (result, events):
            await asyncio.wait((asked,), timeout=2)
        else:
            with pytest.raises(BrokerUnavailable):
                await asyncio.wait_for(asked, PATIENCE)
        proxy.heal()
        answer = await (asked if call in (result, events) else _until_answered(question))
        assert await right(answer), call.__name__

    await asyncio.gather(*map(ask, CALLS))


async def _until_answered(question: Question) -> Any:
    while True:
        with suppress(BrokerUnavailable):
            return await question()


async def test_connections_that_died_while_they_were_idle(proxy: Proxy, hasty: None, connect: Connect) -> None:
    """A firewall has forgotten them. As by default, patience is no longer than an answer may take."""
    proxy, at = await connect("q")
    at.far.patience = connections.ANSWER_SECONDS
    job = at.client.job(f"q-{await at.queued()}")
    await asyncio.gather(*(job.status() for _ in range(8)))
    assert proxy.links
    proxy.hole()
    before = await at.entries()
    await asyncio.gather(at.client.submit("add"), at.client.submit("add", queue="other"))
    assert await at.entries() == before + 1


async def test_a_subscription_that_died_is_made_anew(
    proxy: Proxy, hasty: None, connect: Connect, eventually: Eventually
) -> None:
    proxy, at = await connect("q")
    job = await at.running()
    waiting = asyncio.create_task(at.client.job(f"q-{job.key}").result(timeout=PATIENCE))

    async def subscribed() -> bool:
        return any(not link.dead for link in proxy.those("SUBSCRIBE"))

    await eventually(subscribed)
    proxy.hole("SUBSCRIBE")
    await eventually(subscribed)
    await settle.settle(at.broker, "q", [], [succeed(job)], PATIENT)
    assert await waiting == 42


@pytest.mark.parametrize("breaks", [falls_silent, hangs_up])
async def test_a_client_can_be_closed(
    proxy: Proxy, hasty: None, connect: Connect, breaks: Callable[[Proxy], None]
) -> None:
    """Whatever is under way; and those who still wait are told."""
    proxy, at = await connect("q")
    at.far.patience = 1.0
    job = at.client.job(f"q-{await at.queued()}")
    waiting = [asyncio.create_task(job.result()), asyncio.create_task(_all(job.events()))]
    while not proxy.those("SUBSCRIBE"):
        await asyncio.sleep(0.01)
    breaks(proxy)
    submits = [asyncio.create_task(at.client.submit("add", {"text": "x" * 500_000})) for _ in range(4)]
    await asyncio.sleep(0)
    await asyncio.wait_for(at.client.close(), PATIENCE)
    assert {type(error) for error in await asyncio.gather(*submits, return_exceptions=True)} == {BrokerUnavailable}
    assert {type(error) for error in await asyncio.gather(*waiting, return_exceptions=True)} == {ClientUnusable}


async def _all(events: AsyncIterator[Any]) -> list[Any]:
    return [event async for event in events]


async def test_many_who_wait_for_a_connection_share_one_try(proxy: Proxy, hasty: None, connect: Connect) -> None:
    """Where connecting takes its time and fails, a hundred calls must not try one after the other."""
    proxy, at = await connect("q")
    job = at.client.job(f"q-{await at.queued()}")
    falls_silent(proxy)
    proxy.attempts.clear()
    at.far.patience = 1.0
    calls = [asyncio.create_task(job.cancel()) for _ in range(100)]
    await asyncio.wait_for(asyncio.wait(calls), PATIENCE)
    assert {type(call.exception()) for call in calls} == {BrokerUnavailable}
    assert len(proxy.attempts) < 10
