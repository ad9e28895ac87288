"""The same job on a broker in a container, where a Docker engine answers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from taskserver import Client, Toolbox, Worker, WorkerConfig, tool
from taskserver.store.broker.connection import Broker
from tests.patience import PATIENCE

os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")  # it would pull an image of its own


@tool
async def double(number: int) -> int:
    return 2 * number


@pytest.fixture(scope="module")
def container_url() -> Iterator[str]:
    # Asked in a process of its own, since the library leaves a socket open where nothing answers.
    asked = subprocess.run([sys.executable, "-c", "import docker; docker.from_env().ping()"], capture_output=True)
    if asked.returncode:
        pytest.skip(f"no Docker engine answers here: {asked.stderr.decode().strip().splitlines()[-1]}")
    from testcontainers.community.redis import RedisContainer

    with RedisContainer(os.environ.get("TASKSERVER_TEST_IMAGE", "redis:7")) as redis:
        yield f"redis://{redis.get_container_host_ip()}:{redis.get_exposed_port(redis.port)}"


async def test_a_job_runs_on_a_broker_in_a_container(container_url: str) -> None:
    broker = Broker(container_url)
    worker = Worker(broker, Toolbox.of(double), WorkerConfig(concurrency=2))
    running = asyncio.create_task(worker.run())
    async with Client(container_url) as client:
        job = await client.submit(double, {"number": 21})
        assert await job.result(timeout=PATIENCE) == 42
    worker.stop()
    await running
    await broker.close()
