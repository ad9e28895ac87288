"""A stage for one fault: a broker of its own, workers in processes, a producer, and a ledger that the check reads.

The worker processes are forked from one that has imported everything, so a dead one is replaced within milliseconds.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from taskserver import Client, Worker, WorkerConfig
from taskserver.store.broker.connection import Broker
from taskserver.tools import load
from taskserver.worker.identity import WorkerIdentity
from tests.clients import broker_of
from tests.faults.soak import ledger as ledgers
from tests.faults.soak.check import Verdict, check
from tests.faults.soak.ledger import Ledger
from tests.faults.soak.producer import Producer
from tests.faults.soak.records import Record, read_ledger
from tests.faults.soak.server import SoakServer
from tests.faults.soak.snapshot import live, snapshot
from tests.patience import PATIENCE

SLOTS = 4
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.faults.soak.tools", "taskserver.worker.worker"])


class Stage:
    """What is on the stage.

    Attributes:
        server: The broker.
        client: A client of it.
        lease: Of the workers, in seconds.
        workers: The worker processes.
    """

    def __init__(self, server: SoakServer, client: Client, folder: Path, lease: float) -> None:
        self.server = server
        self.client = client
        self.lease = lease
        self.workers: list[ForkServerProcess] = []
        self.ledger_path = folder / "ledger.jsonl"
        self.ledger = Ledger(self.ledger_path)

    def hire(self) -> ForkServerProcess:
        """Start a worker."""
        process = _processes.Process(
            target=_work, args=(self.server.url, str(self.ledger_path), self.lease), daemon=True
        )
        process.start()
        self.workers.append(process)
        return process

    def signal(self, worker: ForkServerProcess, number: int) -> None:
        """Send a worker a signal."""
        assert worker.pid is not None
        os.kill(worker.pid, number)

    def kill(self, worker: ForkServerProcess) -> None:
        """As a machine that is switched off."""
        worker.kill()
        worker.join()
        self.workers.remove(worker)

    @asynccontextmanager
    async def producing(self, rate: float = 100.0, name: str = "p.1") -> AsyncIterator[None]:
        """Jobs of all harmless kinds are submitted as long as the block lasts; and it lasts until all were heard of."""
        stop = asyncio.Event()
        producer = Producer(self.client, self.ledger, name, "seed", "secret")
        producing = asyncio.create_task(producer.produce(rate, stop))
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait_for(producing, PATIENCE)

    async def more(self, what: str, count: int) -> None:
        """Wait until so many lines more of a sort are in the ledger: the work continues."""
        wanted = self._lines(what) + count
        async with asyncio.timeout(PATIENCE):
            while self._lines(what) < wanted:
                await asyncio.sleep(0.01)

    async def verdict(self) -> tuple[Verdict, Record]:
        """Wait until every job has ended, and check the ledger."""
        async with asyncio.timeout(PATIENCE):
            while await live(self.server.url):
                await asyncio.sleep(0.05)
        record = read_ledger(ledgers.read(self.ledger_path))
        return check(record, await snapshot(self.server.url)), record

    def _lines(self, what: str) -> int:
        return self.ledger_path.read_bytes().count(f'"what":"{what}"'.encode())

    async def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.join()
        self.ledger.close()


@asynccontextmanager
async def stage(binary: str, folder: Path, *options: str, workers: int = 2, lease: float = 1.0) -> AsyncIterator[Stage]:
    """Set it up, and clear it away; ``options`` are the server's."""
    server = SoakServer(binary, "", disk_megabytes=64)
    try:
        await server.start(*options)
        async with Client(server.url) as client:
            (await broker_of(client)).patience = 1.0
            it = Stage(server, client, folder, lease)
            try:
                for _ in range(workers):
                    it.hire()
                yield it
            finally:
                await it.close()
    finally:
        server.close()


def _work(url: str, ledger: str, lease: float) -> None:
    """A worker process."""
    os.environ.update(SOAK_LEDGER=ledger, SOAK_LEASE=str(lease))
    asyncio.run(_run(url, lease))


async def _run(url: str, lease: float) -> None:
    broker = Broker(url)
    config = WorkerConfig(concurrency=SLOTS, lease=lease, grace_period=lease)
    worker = Worker(broker, load(["tests.faults.soak.tools"]), config, WorkerIdentity(owns_process=True))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()
