"""An upgrade under load: workers and clients of an earlier version and of this one, on the same jobs of one broker."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from taskserver import Client, Inspector
from taskserver.store.broker.connection import Broker
from taskserver.store.maintenance import doctor
from taskserver.store.queries.outcomes import ended_jobs
from taskserver.store.queries.workers import list_workers
from tests.clients import broker_of
from tests.conftest import Eventually
from tests.faults.versions import ROOT, SUPERVISED, Process, unpack
from tests.leaks import leaked
from tests.patience import PATIENCE

VERSIONS = ("old", "new")
OTHER = {"old": "new", "new": "old"}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where the code of each version is."""
    earlier = tmp_path_factory.mktemp("earlier")
    if missing := unpack(earlier):
        pytest.skip(missing)
    return {"old": earlier, "new": ROOT}


class Stage:
    """Workers and clients of both versions at one broker."""

    def __init__(self, url: str, roots: dict[str, Path]) -> None:
        self.url = url
        self._roots = roots
        self._all: list[Process] = []

    async def worker(self, version: str) -> Process:
        """Start a worker; it takes jobs."""
        return await self._start(version, "worker", self.url, version)

    async def client(self, version: str) -> Process:
        """Start a client."""
        return await self._start(version, "client", self.url)

    async def several(self, *starting: Awaitable[Process]) -> list[Process]:
        """Start some at once."""
        return list(await asyncio.gather(*starting))

    async def _start(self, version: str, *arguments: str) -> Process:
        self._all.append(process := Process(self._roots[version], *arguments))
        return await process.start()

    async def close(self) -> None:
        """Kill what is left."""
        for process in self._all:
            await process.end()


@pytest.fixture
async def stage(one_broker_url: str, roots: dict[str, Path]) -> AsyncIterator[Stage]:
    stage = Stage(one_broker_url, roots)
    yield stage
    await stage.close()


@pytest.fixture
async def raw(one_broker_url: str) -> AsyncIterator[Any]:
    async with redis.asyncio.Redis.from_url(one_broker_url, decode_responses=True, socket_timeout=None) as client:
        yield client


@asynccontextmanager
async def ends(url: str) -> AsyncIterator[Counter[str]]:
    """How often the end of each job was published."""
    count: Counter[str] = Counter()

    async def listen(subscription: Any) -> None:
        async for message in subscription.listen():
            count.update(key for key, _ in ended_jobs(message["data"]) if message["type"] == "pmessage")

    async with redis.asyncio.Redis.from_url(url, socket_timeout=None) as client, client.pubsub() as subscription:
        await subscription.psubscribe("ts:*:done:*")
        await subscription.parse_response()
        listening = asyncio.create_task(listen(subscription))
        yield count
        listening.cancel()
        await asyncio.wait((listening,))


@asynccontextmanager
async def looking_at(url: str) -> AsyncIterator[Broker]:
    broker = Broker(url)
    yield broker
    await broker.close()


async def damage(broker: Broker) -> list[str]:
    """What the doctor finds, other than what the dead have left."""
    found = await doctor.examine_queue(broker, "default", lambda *_: None)
    return [finding.text for finding in found if finding.level == "error"]


def some_of_each(start: int) -> list[tuple[str, dict[str, Any]]]:
    """Calls of every kind, and many of the plainest."""
    numbers = range(start, start + 200)
    return [
        *(("add", {"a": number, "b": 1}) for number in numbers),
        *(("flaky", {"number": number}) for number in numbers[:30]),
        *(("large", {"size": 50 * count}) for count in range(30)),
    ]


def fits(call: tuple[str, dict[str, Any]], result: Any) -> bool:
    """Whether a result is the one of this call."""
    name, args = call
    expected = {"add": ("sum", args.get("a", 0) + 1), "flaky": ("number", args.get("number"))}
    key, value = expected.get(name, ("text", "x" * args.get("size", 0)))
    return isinstance(result, dict) and result[key] == value


async def test_under_load_nothing_is_lost_and_each_job_ends_once(
    stage: Stage, one_broker_url: str, eventually: Eventually
) -> None:
    workers = await stage.several(*(stage.worker(version) for version in VERSIONS * 2))
    clients = dict(zip(VERSIONS, await stage.several(*map(stage.client, VERSIONS)), strict=True))
    by: dict[str, set[str]] = {}

    async def produce(version: str, rounds: int) -> None:
        for number in range(rounds):
            calls = some_of_each(1000 * number)
            options = {"idempotency_key": f"{version} {number}"} if number % 2 else {"delay": 0.2 * number}
            ids = await clients[version].submit(calls, **options)
            awaited_by = OTHER[version] if number == 1 else version
            for call, result in zip(calls, await clients[awaited_by].results(ids), strict=True):
                assert fits(call, result), (call, result)
                by.setdefault(version, set()).add(result["by"])

    async with ends(one_broker_url) as ended:
        producing = asyncio.gather(*(produce(version, 3) for version in VERSIONS))

        async def some_have_ended() -> bool:
            return len(ended) > 100

        await eventually(some_have_ended)
        for victim in workers[:2]:  # one of each version, with whatever it runs
            victim.kill()
        await stage.several(*(stage.worker(version) for version in VERSIONS))
        await asyncio.wait_for(producing, PATIENCE)
        assert by == {"old": {*VERSIONS}, "new": {*VERSIONS}}

        async def all_have_ended() -> bool:
            return len(ended) == 2 * 3 * 260

        await eventually(all_have_ended)
        assert set(ended.values()) == {1}
    for worker in workers[2:]:
        assert await worker.end(gently=True) == 0
    async with looking_at(one_broker_url) as broker:
        assert await damage(broker) == []
    assert leaked(one_broker_url) == []


@pytest.mark.parametrize("victim", VERSIONS)
async def test_what_one_version_leaves_the_other_takes_over_and_cancels(stage: Stage, raw: Any, victim: str) -> None:
    heir = OTHER[victim]
    killed, client, other = await stage.several(stage.worker(victim), stage.client(victim), stage.client(heir))
    (job,) = await client.submit([("hold", {})])
    assert await raw.blpop(["test:ran"], 40) == ("test:ran", victim)
    await stage.worker(heir)
    killed.kill()
    left, found = await asyncio.gather(client.results([job]), other.results([job]))
    assert left == found == [{"attempt": 2, "by": heir}]
    (job,) = await client.submit([("hold", {})])
    assert await raw.blpop(["test:ran"], 40) == ("test:ran", heir)
    assert await client.cancel(job) == "running"
    assert await client.results([job]) == await other.results([job]) == ["JobCancelled"]


async def test_a_new_tool_waits_for_new_workers_and_old_ones_are_seen(
    stage: Stage, one_broker_url: str, raw: Any, eventually: Eventually
) -> None:
    old, client, other = await stage.several(stage.worker("old"), stage.client("old"), stage.client("new"))
    jobs = [*await client.submit([("newcomer", {})]), *await other.submit([("newcomer", {})])]

    async def put_off() -> bool:
        return await raw.zcard("ts:{default}:delayed") == 2

    await eventually(put_off)
    await stage.worker("new")
    assert await client.results(jobs) == ["new", "new"]
    async with looking_at(one_broker_url) as broker:
        seen = await list_workers(broker)
    assert sorted("newcomer" in worker.tools for worker in seen) == [False, True]
    assert await old.end(gently=True) == 0


TOOL = """
from importlib.util import find_spec

from taskserver import tool

VERSION = "new" if find_spec("taskserver.aio") else "old"


@tool
async def version() -> str:
    return VERSION
"""


async def test_a_restart_rolls_replicas_onto_the_code_that_is_on_disk_now(
    stage: Stage, one_broker_url: str, tmp_path: Path, eventually: Eventually
) -> None:
    """The supervisor itself stays as it was: an earlier one, with replicas of this version."""
    if missing := unpack(tmp_path, SUPERVISED):
        pytest.skip(missing)
    (tmp_path / "agent_tools.py").write_text(TOOL)
    options = ("--tools", "agent_tools", "--replicas", "2", "--lease", "1", "--broker", one_broker_url)
    log = tmp_path / "log"
    with log.open("wb") as output:
        supervisor = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "taskserver", "worker", *options,
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
            stderr=output,
        )  # fmt: skip

    async def ready() -> bool:
        return "is ready: 2 replicas" in log.read_text()

    try:
        await eventually(ready)
        async with Client(one_broker_url) as client:

            async def ask() -> str:
                return str(await (await client.submit("version")).result(timeout=PATIENCE))

            assert await ask() == "old"
            before = {worker.pid for worker in await list_workers(await broker_of(client))}
            shutil.rmtree(tmp_path / "taskserver")
            shutil.copytree(ROOT / "taskserver", tmp_path / "taskserver", ignore=shutil.ignore_patterns("__pycache__"))
            # The command comes from this version, and the replicas that pass it on are of the earlier one.
            async with Inspector(one_broker_url) as operator:
                await operator.restart_workers(everyone=True, wait=False)
            answers: list[str] = []

            async def replaced() -> bool:
                answers.append(await ask())
                return not before & {worker.pid for worker in await list_workers(await broker_of(client))}

            await eventually(replaced)
            assert set(answers) <= {*VERSIONS}
            assert {await ask() for _ in range(10)} == {"new"}
        supervisor.send_signal(signal.SIGTERM)
        assert await supervisor.wait() == 0
        # Old replicas read a script when they first need it: those they find changed or gone, they log as errors.
        assert log.read_text().count("takes the place of") == 2
    finally:
        if supervisor.returncode is None:
            supervisor.kill()
            await supervisor.wait()
