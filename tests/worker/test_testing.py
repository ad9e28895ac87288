"""The worker for users' own tests is ready when its block begins, raises when it cannot work, and keeps to itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskserver import Client, Inspector, JobFailed, SyncClient, tool
from taskserver.config.settings import settings
from taskserver.errors import BrokerUnsuitable
from taskserver.store.broker.connection import Broker
from taskserver.store.queries import queues
from taskserver.testing import private_broker, running_worker
from tests.patience import PATIENCE


@tool
async def triple(number: int) -> int:
    return 3 * number


@tool(queue="gpu")
async def square(number: int) -> int:
    return number**2


async def test_it_runs_jobs_for_as_long_as_the_block(broker_url: str, broker: Broker) -> None:
    async with running_worker(triple, url=broker_url) as given, Client(broker_url) as own:
        assert len((await queues.info(broker, "default")).workers) == 1
        for client in (given, own):
            assert await (await client.submit(triple, {"number": 2})).result(timeout=PATIENCE) == 6
    assert (await queues.info(broker, "default")).workers == []


async def test_a_broker_that_will_not_do_is_told_when_the_block_begins(broker_url: str, broker: Broker) -> None:
    await broker.client(broker.url).config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(BrokerUnsuitable, match="noeviction"):
            async with running_worker(triple, url=broker_url):
                pytest.fail("the block began")
    finally:
        await broker.client(broker.url).config_set("maxmemory-policy", "noeviction")


@pytest.fixture
def environment(one_broker_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Variables of a production environment, whose broker is not the test's business."""
    variables = {
        "TASKSERVER_BROKER_URL": one_broker_url,
        "TASKSERVER_QUEUE": "production",
        "TASKSERVER_DURABILITY": "replicas=2",
        "TASKSERVER_SIGNING_KEYS": "file:/nowhere",
    }
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    settings.cache_clear()
    yield variables
    settings.cache_clear()


async def test_without_a_url_the_broker_is_a_private_one(environment: dict[str, str], one_broker_url: str) -> None:
    async with Client(one_broker_url, durability="memory", signing_keys="") as production:
        theirs = await production.submit(triple, {"number": 1}, queue="default")
        async with running_worker(triple, square) as client, Client() as another:
            for each in (client, another):
                assert await (await each.submit(triple, {"number": 2})).result(timeout=PATIENCE) == 6
                assert await (await each.submit(square, {"number": 3})).result(timeout=PATIENCE) == 9
        assert (await theirs.status()).state == "queued"
    assert {name: os.environ.get(name) for name in environment} == environment
    assert settings().queue == "production"


async def test_each_block_finds_its_broker_empty_and_those_inside_share_it() -> None:
    async with running_worker(queues=("other",)) as client:
        await client.submit(triple, {"number": 1}, queue="default")
        async with running_worker(triple) as inner, Inspector() as inspector:
            assert await (await inner.submit(triple, {"number": 2})).result(timeout=PATIENCE) == 6
            assert len(await inspector.jobs()) == 2
    async with running_worker(triple), Inspector() as inspector:
        assert await inspector.jobs() == []


async def test_a_tool_that_the_worker_was_not_given_fails_at_once() -> None:
    async with running_worker(triple) as client:
        with pytest.raises(JobFailed, match="unknown tool 'tripl'; did you mean 'triple'"):
            await (await client.submit("tripl", {"number": 2})).result(timeout=PATIENCE)


async def test_the_client_submits_to_the_queue_of_its_worker() -> None:
    async with running_worker(triple, queues=("mine",)) as client:
        job = await client.submit(triple, {"number": 2})
        assert job.id.startswith("mine-")
        assert await job.result(timeout=PATIENCE) == 6


def test_programs_and_clients_without_a_url_use_the_private_broker() -> None:
    with private_broker() as url, SyncClient() as client:
        job = client.submit(triple, {"number": 2})
        done = subprocess.run([sys.executable, "-m", "taskserver", "job", "list"], capture_output=True, text=True)
        assert job.id in done.stdout, done
        assert os.environ["TASKSERVER_BROKER_URL"] == url


PROGRAM = """
import os, sys
from taskserver.testing import private_broker
with private_broker() as url:
    if os.fork() == 0:
        with private_broker() as forked:
            sys.exit(forked == url)
    assert os.wait()[1] == 0
    print(url.removeprefix("unix://"), flush=True)
    sys.exit("error" if sys.argv[1:] else 0)
"""


@pytest.mark.parametrize("arguments", [(), ("fail",)])
def test_nothing_is_left_of_the_private_broker_when_the_process_has_ended(arguments: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True)
    socket = Path(done.stdout.strip())
    assert done.returncode == len(arguments), done
    assert socket.name == "broker.sock"
    assert not socket.parent.exists()
    if shutil.which("ps"):
        left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert str(socket) not in left
