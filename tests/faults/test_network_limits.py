"""The broker pauses, takes no more connections, or lets nobody in: a clear error, then recovery without a restart."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from taskserver import BrokerUnavailable, Client, Context, State, Toolbox, Worker, WorkerConfig, tool
from taskserver.errors import BrokerDenied
from taskserver.store.broker import connections
from taskserver.store.broker.connection import Broker
from taskserver.store.scripts import script
from tests.clients import broker_of
from tests.conftest import Eventually, RunWorker
from tests.faults.proxy import Fault, How, Proxy
from tests.patience import PATIENCE
from tests.store.harness import QUEUE, Queue, new_job, submit_all


class Ledger:
    """A tool that reports its attempts and runs until it is let go.

    Attributes:
        attempts: Those begun.
    """

    def __init__(self) -> None:
        self.attempts: list[int] = []
        self.begun = asyncio.Event()
        self.end = asyncio.Event()

        @tool
        async def work(ctx: Context) -> str:
            self.attempts.append(ctx.attempt)
            self.begun.set()
            await self.end.wait()
            return "done"

        self.work = work


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
async def server(broker: Broker) -> AsyncIterator[Any]:
    """A connection for whoever runs the broker; what it does to the server is undone."""
    client = broker.client(broker.url)
    await client.ping()
    before = (await client.config_get("maxclients"))["maxclients"]
    yield client
    await client.config_set("maxclients", before)
    await client.config_set("min-replicas-to-write", 0)
    await client.client_unpause()
    await client.acl_deluser("agent")


async def test_a_pause_longer_than_an_answer_may_take(
    hasty: None, server: Any, broker: Broker, client: Client, run_worker: RunWorker, ledger: Ledger
) -> None:
    """CLIENT PAUSE, as while a failover is prepared: commands are held and answered later, or never."""
    async with run_worker(ledger.work, lease=6.0) as worker:
        await worker.ready.wait()
        job = await client.submit(ledger.work)
        await ledger.begun.wait()
        await server.client_pause(1_500, all=True)
        ledger.end.set()
        late = new_job()
        broker.patience = 10
        await submit_all(broker, QUEUE, [late])
        assert await job.result(timeout=PATIENCE) == "done"
    assert ledger.attempts == [1]
    assert [claimed.key for claimed in await Queue(broker).claim(slots=5)] == [late.key]


async def test_no_more_connections(
    server: Any, broker_url: str, client: Client, run_worker: RunWorker, ledger: Ledger, eventually: Eventually
) -> None:
    """At ``maxclients`` who has a connection keeps it, so heartbeats flow; who comes later must wait."""
    async with run_worker(ledger.work, lease=1.2) as worker, Client(broker_url) as newcomer:
        await worker.ready.wait()
        job = await client.submit(ledger.work)
        await ledger.begun.wait()
        await server.config_set("maxclients", 1)
        (await broker_of(newcomer)).patience = 0.5
        with pytest.raises(BrokerUnavailable):
            await newcomer.submit(ledger.work)
        await beats(server, eventually, 4)
        await server.config_set("maxclients", 4_000)
        again = await newcomer.submit(ledger.work)
        ledger.end.set()
        assert [await each.result(timeout=PATIENCE) for each in (job, again)] == ["done", "done"]
    assert ledger.attempts == [1, 1]


async def beats(server: Any, eventually: Eventually, times: int) -> None:
    """So many heartbeats, thrice a lease: their calls are the only ones that XCLAIM."""

    async def count() -> int:
        found = await server.info("commandstats")
        return int(found.get("cmdstat_xclaim", {}).get("calls", 0))

    enough = await count() + times

    async def reached() -> bool:
        return await count() >= enough

    await eventually(reached)


async def test_heartbeats_flow_while_the_pool_is_exhausted(
    proxy: Proxy,
    server: Any,
    client: Client,
    run_worker: RunWorker,
    ledger: Ledger,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker's one connection for commands hangs for longer than a lease, and another worker would take its job."""
    monkeypatch.setattr(connections, "ANSWER_SECONDS", 3.0)
    far = Broker(proxy.url, connections=1)
    worker = Worker(far, Toolbox.of(ledger.work), WorkerConfig(lease=1.2))
    life = asyncio.create_task(worker.run())
    await worker.ready.wait()
    job = await client.submit(ledger.work)
    await ledger.begun.wait()
    async with run_worker(ledger.work, lease=1.2) as other:
        await other.ready.wait()
        stuck = proxy.plan(Fault(script("promote").sha, request=0, how=How.HOLE))
        await stuck.happened.wait()
        await beats(server, eventually, 6)
        assert ledger.attempts == [1]
        ledger.end.set()
        assert await job.result(timeout=PATIENCE) == "done"
        worker.stop()
        await life
    await far.close()
    assert ledger.attempts == [1]


async def test_replicas_that_are_missed(
    server: Any, client: Client, run_worker: RunWorker, ledger: Ledger, caplog: pytest.LogCaptureFixture,
    eventually: Eventually,
) -> None:  # fmt: skip
    """The server refuses writes while too few replicas are connected, and no outcome is lost."""
    async with run_worker(ledger.work, lease=60) as worker:
        await worker.ready.wait()
        job = await client.submit(ledger.work)
        await ledger.begun.wait()
        await server.config_set("min-replicas-to-write", 1)
        (await broker_of(client)).patience = 0.2
        with pytest.raises(BrokerUnavailable, match="NOREPLICAS"):
            await client.submit(ledger.work)
        ledger.end.set()

        async def settler_waits() -> bool:
            return "settler of default is waiting for the broker" in caplog.text

        await eventually(settler_waits)
        await server.config_set("min-replicas-to-write", 0)
        assert await job.result(timeout=PATIENCE) == "done"
    assert ledger.attempts == [1]


async def test_many_calls_share_few_connections(proxy: Proxy, client: Client, ledger: Ledger) -> None:
    job = await client.submit(ledger.work)
    async with Client(proxy.url) as far:
        proxy.delay = 0.02
        statuses = await asyncio.gather(*(far.job(job.id).status() for _ in range(200)))
        assert {status.state for status in statuses} == {State.QUEUED}
        assert len(proxy.links) <= 8


# Users whose rights change while they are connected.

Change = Callable[[Any, Proxy], Awaitable[None]]


async def loses_its_commands(server: Any, _: Proxy) -> None:
    await server.execute_command("ACL", "SETUSER", "agent", "-@all")


async def loses_its_keys(server: Any, _: Proxy) -> None:
    await server.execute_command("ACL", "SETUSER", "agent", "resetkeys")


async def loses_a_command_that_scripts_need(server: Any, _: Proxy) -> None:
    await server.execute_command("ACL", "SETUSER", "agent", "-xack", "-xreadgroup")


async def has_another_password(server: Any, proxy: Proxy) -> None:
    await server.execute_command("ACL", "SETUSER", "agent", "resetpass", ">another")
    proxy.cut()


async def is_switched_off(server: Any, proxy: Proxy) -> None:
    await server.execute_command("ACL", "SETUSER", "agent", "off")
    proxy.cut()


@pytest.mark.parametrize(
    "loses",
    [loses_its_commands, loses_its_keys, loses_a_command_that_scripts_need, has_another_password, is_switched_off],
    ids=lambda change: change.__name__,
)
async def test_a_user_is_let_in_again(
    proxy: Proxy, server: Any, client: Client, ledger: Ledger, loses: Change, eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO, "taskserver")
    rights = ("ACL", "SETUSER", "agent", "reset", "on", ">secret", "~*", "&*", "+@all")
    await server.execute_command(*rights)
    url = proxy.url.replace("//", "//agent:secret@")
    far = Broker(url)
    worker = Worker(far, Toolbox.of(ledger.work), WorkerConfig(lease=60))
    life = asyncio.create_task(worker.run())
    await worker.ready.wait()
    async with Client(url) as agent:
        job = await agent.submit(ledger.work)
        await ledger.begun.wait()
        await loses(server, proxy)
        ledger.end.set()

        async def denied() -> bool:
            (answer,) = await asyncio.gather(agent.submit("work"), return_exceptions=True)
            return isinstance(answer, BrokerDenied) and "secret" not in str(answer)

        if loses is not loses_a_command_that_scripts_need:
            await eventually(denied)

        async def reported() -> bool:
            return any("may not do this" in text or "refused the user or password" in text for text in texts(caplog))

        await eventually(reported)
        await server.execute_command(*rights)
        assert await job.result(timeout=PATIENCE) == "done"
        assert await (await agent.submit(ledger.work)).result(timeout=PATIENCE) == "done"
    worker.stop()
    await life
    await far.close()
    assert ledger.attempts == [1, 1]
    assert [text for text, times in Counter(texts(caplog, logging.WARNING)).items() if times > 1] == []
    assert "secret" not in caplog.text


def texts(caplog: pytest.LogCaptureFixture, level: int = 0) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


async def test_a_wrong_password_ends_a_worker_with_a_clear_error(proxy: Proxy, server: Any) -> None:
    await server.execute_command("ACL", "SETUSER", "agent", "reset", "on", ">right", "~*", "&*", "+@all")
    far = Broker(proxy.url.replace("//", "//agent:wrong-secret@"))
    with pytest.raises(BrokerDenied, match="refused the user or password: check the broker URL") as caught:
        await Worker(far, Toolbox.of(), WorkerConfig()).run()
    assert "secret" not in str(caught.value)
    await far.close()
