"""Workers that a test stops, silences or kills as it likes; for what they do, one kind of broker is enough."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from taskserver import BrokerUnavailable, Toolbox, Worker, WorkerConfig
from taskserver.store.broker.connection import Broker
from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def broker_url(one_broker_url: str) -> str:
    """URL of an empty broker."""
    return one_broker_url


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """What the workers log can be asserted on, from ``info`` up."""
    caplog.set_level(logging.INFO, "taskserver")


class Hired:
    """A worker in this process."""

    def __init__(self, broker: Broker, worker: Worker) -> None:
        self.broker = broker
        self.worker = worker
        self.life = asyncio.create_task(worker.run())

    def silence(self) -> None:
        """Its heartbeats no longer reach the broker; everything else does."""

        def renew(*_: object) -> list[Any]:
            raise BrokerUnavailable("heartbeats are lost in this test")

        self.worker._heartbeat._keeper.renew = renew  # type: ignore[method-assign]

    def speak(self) -> None:
        """Its heartbeats reach the broker again."""
        del self.worker._heartbeat._keeper.renew

    async def stop(self) -> None:
        """Stop it as SIGTERM does."""
        self.worker.stop()
        await self.life

    async def end(self) -> None:
        """Stop it without waiting for its jobs."""
        self.worker.stop()
        self.worker.stop()
        await self.life
        await self.broker.close()


Hire = Callable[..., Awaitable[Hired]]


@pytest.fixture
async def hire(broker_url: str) -> AsyncIterator[Hire]:
    """``await hire(tool, …, concurrency=4)``: start a worker; those that are left at the end are stopped."""
    hired: list[Hired] = []

    async def start(*tools: object, url: str = broker_url, **config: Any) -> Hired:
        broker = Broker(url, patience=1.0)
        options = {"concurrency": 4, "grace_period": 5.0, "lease": 10.0, **config}
        hired.append(Hired(broker, Worker(broker, Toolbox.of(*tools), WorkerConfig(**options))))
        return hired[-1]

    yield start
    for each in hired:
        await each.end()


class Process:
    """A worker in a process of its own that runs the tools of ``programs/tools.py``."""

    def __init__(self, url: str, lease: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.worker.programs.worker", url, str(lease)], cwd=ROOT, stdin=subprocess.DEVNULL
        )

    def kill(self) -> None:
        """As a machine that is switched off."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    async def code(self) -> int:
        """Wait until it ends by itself; its exit code."""
        return await asyncio.to_thread(self._process.wait, PATIENCE)

    def running(self) -> bool:
        return self._process.poll() is None


@pytest.fixture
def spawn(broker_url: str) -> Iterator[Callable[..., Process]]:
    """``spawn(lease=2)``: start a worker in a process of its own; those that are left at the end are killed."""
    started: list[Process] = []

    def start(lease: float = 2.0) -> Process:
        started.append(Process(broker_url, lease))
        return started[-1]

    yield start
    for process in started:
        process.kill()


class Talk:
    """Messages between the test and the tools in other processes, in two lists of the broker."""

    def __init__(self, url: str) -> None:
        self._redis = redis.asyncio.Redis.from_url(url, decode_responses=True, socket_timeout=None)

    async def receive(self) -> str:
        """The next message of a tool."""
        answer = await self._redis.blpop(["test:messages"], PATIENCE)
        assert answer is not None, "the tool sent no message"
        return str(answer[1])

    async def send(self, message: str) -> None:
        """Let a tool that waits go on, with a message."""
        await self._redis.rpush("test:go", message)

    async def close(self) -> None:
        await self._redis.aclose()


@pytest.fixture
async def talk(broker_url: str) -> AsyncIterator[Talk]:
    talk = Talk(broker_url)
    yield talk
    await talk.close()
