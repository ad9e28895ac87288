"""Somebody who may write to the broker, but does not have the key: what workers with keys take, and what not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from taskserver import BaseConsumer, BaseMessage, Client, Context, JobFailed, State, tool
from taskserver.client.job import Job
from taskserver.domain import ids
from taskserver.domain.job import NewJob
from taskserver.domain.messages import Envelope, ToolExecutionMessage, pack
from taskserver.domain.signing import TTL_MS, Keyring
from taskserver.errors import JobConflict
from taskserver.store.broker.connection import Broker
from tests.conftest import RunWorker
from tests.patience import PATIENCE
from tests.store.harness import submit_all

ran: list[int] = []


@tool(max_retries=2, retry_delay=0.01)
async def pay(cents: int, *, ctx: Context) -> int:
    ran.append(cents)
    if cents < 0 and ctx.attempt == 1:
        raise ConnectionError("once more")
    return cents


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


class Keys:
    """References to keys in files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, names: str) -> str:
        for name in names.split():
            (self._folder / name).write_text(name * 32)
        return " ".join(f"file:{self._folder / name}" for name in names.split())


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
async def signing(broker_url: str, keys: Keys) -> AsyncIterator[Client]:
    """A client that has the key."""
    async with Client(broker_url, signing_keys=keys["ours"]) as client:
        yield client


async def refused(job: Job[Any], sentence: str) -> None:
    """It ends as a dead letter at once, and without a single line of a tool having run."""
    with pytest.raises(JobFailed, match=sentence) as caught:
        await job.result(timeout=PATIENCE)
    status = await job.status()
    assert (caught.value.error_type, status.state, status.attempt) == ("SignatureInvalid", State.DEAD, 1)


async def plant(broker: Broker, client: Client, payload: bytes, queue: str = "default", key: str = "") -> Job[Any]:
    """Write a job as whoever has the broker's password can."""
    key = key or ids.KeyMaker("000000")()
    await submit_all(broker, queue, [NewJob(key, payload)])
    return client.job(f"{queue}-{key}")


async def test_what_is_signed_runs_as_ever(signing: Client, run_worker: RunWorker, keys: Keys) -> None:
    async with run_worker(pay, signing_keys=keys["ours"], keep_messages=True):
        assert await (await signing.submit(pay, {"cents": 1})).result(timeout=PATIENCE) == 1
        assert await (await signing.submit("pay", {"cents": -2}, tags=["red"])).result(timeout=PATIENCE) == -2
        many = await signing.submit_many([(pay, {"cents": cents}) for cents in range(5)], idempotency_key="five")
        assert [await job.result(timeout=PATIENCE) for job in many] == list(range(5))
        later = await signing.submit(pay, {"cents": 9}, delay=0.05, idempotency_key="nine")
        assert await later.result(timeout=PATIENCE) == 9
        status = await later.status()
    assert (status.tool, status.arguments, status.idempotency_key) == ("pay", {"cents": 9}, "nine")


async def test_what_is_not_signed_is_a_dead_letter_and_the_slot_is_free(
    client: Client, signing: Client, run_worker: RunWorker, keys: Keys
) -> None:
    async with run_worker(pay, signing_keys=keys["ours"], concurrency=1):
        await refused(
            await client.submit(pay, {"cents": 1}),
            "the message is not signed, and this worker accepts signed messages only",
        )
        assert await (await signing.submit(pay, {"cents": 2})).result(timeout=PATIENCE) == 2
    assert ran == [2]


async def test_what_is_signed_with_another_key_is_refused(broker_url: str, run_worker: RunWorker, keys: Keys) -> None:
    async with Client(broker_url, signing_keys=keys["theirs"]) as theirs, run_worker(pay, signing_keys=keys["ours"]):
        await refused(await theirs.submit(pay, {"cents": 1}), "is invalid: it was signed with another key")
    assert ran == []


async def test_a_signed_message_under_another_id_or_in_another_queue_is_refused(
    broker: Broker, signing: Client, run_worker: RunWorker, keys: Keys
) -> None:
    async with run_worker(pay, signing_keys=keys["ours"], queues=("default", "other"), keep_messages=True):
        job = await signing.submit(pay, {"cents": 1})
        await job.result(timeout=PATIENCE)
        recorded = await broker.client(broker.url).get(broker.keys("default").message(job.id.removeprefix("default-")))
        await refused(await plant(broker, signing, recorded), "or for another job")
        same_key = job.id.removeprefix("default-")
        await refused(await plant(broker, signing, recorded, "other", same_key), "or for another job")
    assert ran == [1]


async def test_a_message_that_was_changed_is_refused(
    broker: Broker, signing: Client, run_worker: RunWorker, keys: Keys
) -> None:
    job = await signing.submit(pay, {"cents": 100})
    name = broker.keys("default").message(job.id.removeprefix("default-"))
    message = await broker.client(broker.url).get(name)
    await broker.client(broker.url).set(name, message.replace(b"cents\x64", b"cents\x7f"))
    async with run_worker(pay, signing_keys=keys["ours"]):
        await refused(job, "or it was changed")
    assert ran == []


async def test_a_signature_that_has_expired_is_refused_until_the_job_is_signed_anew(
    broker: Broker, signing: Client, run_worker: RunWorker, keys: Keys
) -> None:
    """The way of a dead letter that somebody looks at weeks later."""
    message = ToolExecutionMessage(tool_name="pay", tool_args={"cents": 5})
    envelope = pack(Envelope.of(message, msgspec.msgpack.encode(message)))
    key = ids.KeyMaker("000000")()
    long_ago = Keyring([b"ours" * 32]).seal("default", key, envelope, start_ms=0)
    job = await plant(broker, signing, long_ago + envelope, key=key)
    async with run_worker(pay, signing_keys=keys["ours"]):
        await refused(
            job, "signature expired at 1970-01-08 00:00:00 UTC: run the job again from a process that has the key"
        )
        await job.retry()
        assert await signing.job(job.id).result(timeout=PATIENCE) == 5
    assert TTL_MS == 7 * 86_400_000


async def test_running_a_job_again_does_not_sign_what_somebody_else_wrote(
    client: Client, signing: Client, run_worker: RunWorker, keys: Keys
) -> None:
    async with run_worker(pay, signing_keys=keys["ours"]):
        forged = await client.submit(pay, {"cents": 1})
        await refused(forged, "not signed")
        with pytest.raises(JobConflict, match=r"not signed with any of this client's keys, .* submit the job again"):
            await signing.job(forged.id).retry()
        assert (await forged.status()).state is State.DEAD
        await forged.retry()  # without a key nothing is signed, so nothing is lost by letting it
        await refused(client.job(forged.id), "not signed")
    assert ran == []


async def test_keys_change_while_workers_run(broker_url: str, run_worker: RunWorker, keys: Keys) -> None:
    async with (
        run_worker(pay, signing_keys=keys["new old"]),
        Client(broker_url, signing_keys=keys["old"]) as before,
        Client(broker_url, signing_keys=keys["new old"]) as after,
    ):
        assert await (await before.submit(pay, {"cents": 1})).result(timeout=PATIENCE) == 1
        assert await (await after.submit(pay, {"cents": 2})).result(timeout=PATIENCE) == 2


async def test_a_worker_without_keys_runs_signed_messages(signing: Client, run_worker: RunWorker) -> None:
    async with run_worker(pay):
        assert await (await signing.submit(pay, {"cents": 1})).result(timeout=PATIENCE) == 1


class Order(BaseMessage):
    pages: int


class Orders(BaseConsumer[Order]):
    async def process(self, message: Order, ctx: Context) -> int:
        ran.append(message.pages)
        return message.pages

    async def on_failure(self, error: BaseException, message: Order) -> None:
        raise AssertionError("what nobody vouches for is not even shown to its consumer")


async def test_messages_of_ones_own_are_signed_too(
    client: Client, signing: Client, run_worker: RunWorker, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    async with run_worker(Orders, signing_keys=keys["ours"]):
        assert await (await signing.send(Order(pages=3))).result(timeout=PATIENCE) == 3
        await refused(await client.send(Order(pages=4)), "not signed")
    assert ran == [3]
    assert "hook failed" not in caplog.text


async def test_nothing_is_decoded_before_it_was_checked(
    client: Client, broker: Broker, run_worker: RunWorker, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded(*_: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr("taskserver.worker.executor.unpack", decoded)
    async with run_worker(pay, signing_keys=keys["ours"]):
        await refused(await plant(broker, client, b"\x91" * 50_000), "not signed")
        await refused(await plant(broker, client, b"\xc1" * 50_000), "is invalid")
