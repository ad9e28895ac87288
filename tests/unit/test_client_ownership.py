"""A client that cannot answer says so at once: after it was closed, in another event loop, and in another process."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any, NamedTuple

import pytest

from taskserver import (
    BaseMessage,
    BrokerUnavailable,
    Client,
    ClientUnusable,
    Inspector,
    Job,
    SyncClient,
    SyncInspector,
    SyncJob,
)
from taskserver.config.settings import settings
from taskserver.store.broker import connections
from tests.brokers import Server, kinds
from tests.patience import PATIENCE


class Ping(BaseMessage):
    text: str = ""


class Owned(NamedTuple):
    """A client that was used, the handle of a job of its own, and an inspector that was used."""

    client: Client
    job: Job[Any]
    inspector: Inspector


async def all_events(job: Job[Any]) -> list[Any]:
    return [event async for event in job.events()]


async def dead_letters(inspector: Inspector) -> list[Any]:
    return [each async for each in inspector.dead_letters()]


CALLS: dict[str, Callable[[Owned], Awaitable[Any]]] = {
    "submit": lambda owned: owned.client.submit("anything"),
    "send": lambda owned: owned.client.send(Ping()),
    "submit_many": lambda owned: owned.client.submit_many([("anything", {})]),
    "check": lambda owned: owned.client.check(),
    "status": lambda owned: owned.job.status(),
    "result": lambda owned: owned.job.result(),
    "events": lambda owned: all_events(owned.job),
    "cancel": lambda owned: owned.job.cancel(),
    "retry": lambda owned: owned.job.retry(),
    "queues": lambda owned: owned.inspector.queues(),
    "jobs": lambda owned: owned.inspector.jobs(),
    "dead letters": lambda owned: dead_letters(owned.inspector),
    "gauges": lambda owned: owned.inspector.gauges(),
    "workers": lambda owned: owned.inspector.workers(),
}
CLOSING: dict[str, Callable[[Owned], Awaitable[Any]]] = {
    "connect": lambda owned: owned.client.connect(),
    "close": lambda owned: owned.client.close(),
    "close the inspector": lambda owned: owned.inspector.close(),
}


async def owned_by_this_loop(url: str) -> Owned:
    client, inspector = Client(url), Inspector(url)
    job = await client.submit("anything")
    with pytest.raises(TimeoutError):
        await job.result(timeout=0.01)
    await inspector.queues()
    return Owned(client, job, inspector)


async def close(owned: Owned) -> None:
    await owned.client.close()
    await owned.inspector.close()


async def refusals(owned: Owned, calls: dict[str, Callable[[Owned], Awaitable[Any]]]) -> dict[str, str]:
    """What each call says."""

    async def refusal(call: Callable[[Owned], Awaitable[Any]]) -> str:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(ClientUnusable) as caught:
                await call(owned)
            return str(caught.value)

    return {name: await refusal(call) for name, call in calls.items()}


async def test_whatever_is_asked_after_the_end_is_refused(one_broker_url: str) -> None:
    owned = await owned_by_this_loop(one_broker_url)
    await close(owned)
    for name, refusal in (await refusals(owned, CALLS)).items():
        assert "is closed: open one with `async with`" in refusal, name
    await close(owned)  # harmless


async def test_a_closed_client_can_be_opened_again_and_its_old_handles_cannot(one_broker_url: str) -> None:
    owned = await owned_by_this_loop(one_broker_url)
    await close(owned)
    async with owned.client, owned.inspector:
        assert (await owned.client.job(owned.job.id).status()).id == owned.job.id
        assert await owned.inspector.queues()
        with pytest.raises(ClientUnusable, match="is closed"):
            await owned.job.status()


def test_whatever_is_asked_in_another_event_loop_is_refused_while_the_first_goes_on(one_broker_url: str) -> None:
    with asyncio.Runner() as first:
        owned = first.run(owned_by_this_loop(one_broker_url))
        for name, refusal in asyncio.run(refusals(owned, CALLS | CLOSING)).items():
            assert "belongs to another event loop: make one in each loop" in refusal, name
        assert first.run(owned.job.cancel()) == "cancelled"
        first.run(close(owned))


def test_a_client_that_was_closed_in_its_loop_can_be_used_in_the_next_one(one_broker_url: str) -> None:
    client = Client(one_broker_url)

    async def submit_some() -> None:
        async with client:
            await asyncio.gather(*(client.submit("anything") for _ in range(10)))

    for _ in range(3):
        asyncio.run(submit_some())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """One that may be frozen; clients do not wait long for it."""
    monkeypatch.setenv("TASKSERVER_PATIENCE", "0.1")
    monkeypatch.setattr(connections, "ANSWER_SECONDS", 0.5)
    settings.cache_clear()
    server = Server(kinds()[max(kinds())]).start()
    yield server
    server.close()
    settings.cache_clear()


@pytest.mark.parametrize("name", [name for name in CALLS if name != "gauges"])
async def test_what_is_under_way_ends_with_the_client(server: Server, name: str) -> None:
    owned = await owned_by_this_loop(server.url)
    server.signal(SIGSTOP)
    try:
        asked = asyncio.ensure_future(CALLS[name](owned))
        await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE):
            await close(owned)
            (outcome,) = await asyncio.gather(asked, return_exceptions=True)
    finally:
        server.signal(SIGCONT)
    sends = name in ("submit", "send")  # what has begun may still arrive, so it is waited for
    assert isinstance(outcome, (ClientUnusable, BrokerUnavailable) if sends else ClientUnusable), repr(outcome)


BLOCKING: dict[str, Callable[[SyncClient, SyncJob[Any], SyncInspector], Any]] = {
    "submit": lambda client, job, inspector: client.submit("anything"),
    "submit_many": lambda client, job, inspector: client.submit_many([("anything", {})]),
    "send": lambda client, job, inspector: client.send(Ping()),
    "job": lambda client, job, inspector: client.job(job.id).status(),
    "status": lambda client, job, inspector: job.status(),
    "result": lambda client, job, inspector: job.result(),
    "events": lambda client, job, inspector: list(job.events()),
    "cancel": lambda client, job, inspector: job.cancel(),
    "retry": lambda client, job, inspector: job.retry(),
    "queues": lambda client, job, inspector: inspector.queues(),
    "dead letters": lambda client, job, inspector: list(inspector.dead_letters()),
}


@pytest.mark.parametrize("name", BLOCKING)
def test_a_blocking_call_ends_when_another_thread_closes_its_client(server: Server, name: str) -> None:
    client, inspector = SyncClient(server.url), SyncInspector(server.url)
    job = client.submit("anything")
    inspector.queues()
    outcome: list[BaseException] = []
    begun = threading.Event()

    def ask() -> None:
        begun.set()
        try:
            BLOCKING[name](client, job, inspector)
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=ask)
    server.signal(SIGSTOP)
    try:
        thread.start()
        begun.wait()
        client.close()
        inspector.close()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    finally:
        server.signal(SIGCONT)
    assert [type(error) in (ClientUnusable, BrokerUnavailable) for error in outcome] == [True], outcome
    with pytest.raises(ClientUnusable, match="is closed: make another one"):
        BLOCKING[name](client, job, inspector)


def test_a_callback_that_calls_its_own_inspector_is_refused(one_broker_url: str) -> None:
    refused: list[str] = []

    def ask_again(*_: object) -> None:
        for call in (inspector.queues, inspector.close):
            with pytest.raises(ClientUnusable) as caught:
                call()
            refused.append(str(caught.value))

    with SyncClient(one_broker_url) as client, SyncInspector(one_broker_url) as inspector:
        client.submit("anything")
        inspector.examine(progress=ask_again)
        assert inspector.queues()
    assert {"cannot wait for another call" in each for each in refused} == {True}


FORKS = """
import asyncio, os, multiprocessing, sys
from taskserver import Client, ClientUnusable, SyncClient, SyncInspector

url, how = sys.argv[1:]
client, inspector = SyncClient(url), SyncInspector(url)
if how != "unused":
    before = client.submit("anything")
    inspector.queues()
else:
    before = None
loop = asyncio.new_event_loop()
asynchronous = Client(url)
handle = loop.run_until_complete(asynchronous.submit("anything"))


def child():
    job = client.submit("anything")
    assert str(job.status().state) == "queued"
    assert {each.id for each in inspector.jobs()} >= {job.id, (before or job).id}
    if before is not None:
        assert before.cancel() == "cancelled"
    for call in (handle.status, handle.result, asynchronous.connect, asynchronous.close):
        for run in (loop.run_until_complete, asyncio.run):
            try:
                run(call())
            except ClientUnusable as error:
                assert "was connected before this process was forked" in str(error), error
            else:
                raise AssertionError(call)
    if how == "closed":
        client.close()
        inspector.close()
        try:
            client.submit("anything")
        except ClientUnusable:
            pass


if how == "multiprocessing":
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    code = process.exitcode
else:
    pid = os.fork()
    if not pid:
        child()
        sys.exit(0)  # as a program ends: everything is freed
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert code == 0, code
assert {str(client.submit("anything").status().state) for _ in range(20)} == {"queued"}
assert len(inspector.jobs()) >= 22
assert str(loop.run_until_complete(handle.status()).state) == "queued"
loop.run_until_complete(asynchronous.close())
client.close()
inspector.close()
print("the parent continues")
"""


@pytest.mark.parametrize("how", ["used", "unused", "closed", "multiprocessing"])
def test_a_forked_process_connects_by_itself_and_leaves_its_parent_alone(
    one_broker_url: str, tmp_path: Path, how: str
) -> None:
    program = tmp_path / "forks.py"
    program.write_text(FORKS)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", program, one_broker_url, how], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "the parent continues\n", "")
