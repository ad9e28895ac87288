"""One soak on one broker, from its start to its report."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import redis

from taskserver.aio import cancel_and_wait
from tests.faults.proxy import Proxy
from tests.faults.soak import ledger as ledgers
from tests.faults.soak.check import Breach, Stored, Verdict, check, repeated_runs, returns
from tests.faults.soak.inflicting import Faults
from tests.faults.soak.ledger import Ledger
from tests.faults.soak.plan import plan
from tests.faults.soak.processes import ProcessSlots, producers, workers
from tests.faults.soak.records import Record, read_ledger
from tests.faults.soak.report import Report, spread
from tests.faults.soak.server import SoakServer
from tests.faults.soak.snapshot import live, snapshot
from tests.faults.soak.takeovers import PROMISED_LEASES, late_by_cause, takeovers
from tests.faults.soak.watcher import Watcher

PHASES = (
    ("always", ("processes",), 0.15),
    ("always", ("processes", "broker"), 0.55),
    ("everysec", ("processes", "broker"), 0.3),
)
"""The server's ``appendfsync``, the lanes of faults, and the part of the time.

First only processes die, so that it can be measured how soon others take over. With ``always``, nothing that was
acknowledged may be lost; with ``everysec``, what was acknowledged in the second before a power cut.
"""
SLOW_BYTES = 250_000
"""Bytes a second of a slow link: 2 Mbit/s. Every third worker has one, and every second producer."""
LONGER = 4
"""How many times longer the lease of every third worker is."""
DRAIN_SECONDS = 120.0
"""In which all that is left must end, and as long again for every so many jobs: the janitor walks over all of them."""
DRAIN_JOBS = 100_000


class Settings(NamedTuple):
    """What one soak runs with."""

    name: str
    binary: str
    seed: int
    minutes: float
    rate: float = 40.0
    workers: int = 3
    slots: int = 8
    producers: int = 2
    lease: float = 1.5


class Soak:
    """A soak on one broker. Everything that it starts ends with ``soak``, however that ends."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.ledger_path = folder / "ledger.jsonl"
        self._ledger = Ledger(self.ledger_path)
        self._watcher: Watcher | None = None
        self._secrets = [f"password-{secrets.token_hex(8)}", f"argument-{secrets.token_hex(8)}"]

    async def soak(self) -> Report:
        """Inflict the plan, let everything come to its end, and check."""
        with self._server() as server:
            await server.start()
            async with self._fleet(server) as (crew, submitters):
                faults = Faults(server, crew, submitters, self._ledger)
                self._watcher = Watcher(server, self._ledger)
                async with _beside(server.keep(), self._watcher.listen(), self._watcher.walk()):
                    async with _beside(crew.keep()):
                        async with _beside(submitters.keep()):
                            await self._inflict(server, faults)
                        begun = time.monotonic()
                        stuck = await self._drain(server, submitters)
                        drained_in = time.monotonic() - begun
                    stuck += [f"worker {pid}" for pid in await crew.finish(30)]
                stored = await snapshot(server.url)
                report = await self._report(server, stored)
                report.skipped = faults.skipped
                report.workers_started, report.producers_started = crew.started, submitters.started
                report.drained_in = round(drained_in, 1)
                report.breaches += [Breach("I4", who, "did not come to its end in time") for who in stuck]
                return report

    def progress(self) -> str:
        """In a few words, where it stands."""
        return f"{self.settings.name}: {len(self._watcher.ends) if self._watcher else 0:,} jobs ended"

    def remove(self) -> None:
        """Throw ledger and logs away."""
        shutil.rmtree(self.folder)

    @contextmanager
    def _server(self) -> Iterator[SoakServer]:
        megabytes = 192 + round(40 * self.settings.minutes)
        server = SoakServer(self.settings.binary, self._secrets[0], megabytes)
        try:
            yield server
        finally:
            with suppress(FileNotFoundError):
                shutil.copy(server.folder / "log", self.folder / "broker.log")
            server.close()
            self._ledger.close()

    @asynccontextmanager
    async def _fleet(self, server: SoakServer) -> AsyncIterator[tuple[ProcessSlots, ProcessSlots]]:
        settings = self.settings
        env = {
            "SOAK_LEDGER": str(self.ledger_path),
            "SOAK_LEASE": str(settings.lease),
            "SOAK_SECRET": self._secrets[1],
        }
        async with slow_way(server.url) as slow:
            leases = [settings.lease * (LONGER if number % 3 == 2 else 1) for number in range(settings.workers)]
            ways = [slow if number % 3 == 0 else server.url for number in range(settings.workers)]
            crew = workers(leases, settings.slots, ways, env, self._ledger, self.folder)
            ways = [slow if number % 2 else server.url for number in range(settings.producers)]
            submitters = producers(settings.rate, settings.seed, ways, env, self._ledger, self.folder)
            try:
                yield crew, submitters
            finally:
                crew.close()
                submitters.close()

    async def _inflict(self, server: SoakServer, faults: Faults) -> None:
        """Phase after phase, and nothing that was inflicted is left at the end of one."""
        for number, (fsync, lanes, share) in enumerate(PHASES):
            seconds = self.settings.minutes * 60 * share
            await server.set_fsync(fsync)
            self._ledger.write("phase", fsync=fsync)
            planned = plan(f"{self.settings.seed}/{number}", seconds)
            async with _beside(*(faults.carry_out(planned[lane]) for lane in lanes)):
                await asyncio.sleep(seconds)
            faults.undo()
            await _up(server)

    async def _drain(self, server: SoakServer, submitters: ProcessSlots) -> list[str]:
        """Let what was submitted end, and the producers hear of it; who did not."""
        deadline = time.monotonic() + DRAIN_SECONDS * (
            1 + len(self._watcher.ends if self._watcher else ()) / DRAIN_JOBS
        )
        stuck = await submitters.finish(deadline - time.monotonic())
        while time.monotonic() < deadline:
            with suppress(redis.RedisError):
                if not await live(server.url):
                    break
            await asyncio.sleep(0.2)
        return [f"producer {pid}" for pid in stuck]

    async def _report(self, server: SoakServer, stored: dict[str, Stored]) -> Report:
        record = await asyncio.to_thread(read_ledger, ledgers.read(self.ledger_path))
        verdict = check(record, stored)
        async with server.admin() as admin:
            info = await admin.info("server")
        settings = self.settings
        product = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"
        report = Report(settings.name, product, settings.seed, settings.minutes)
        _fill(report, record, stored, verdict, settings.lease)
        report.broker_restarts = server.restarts
        report.breaches += self._leaks()
        return report

    def _leaks(self) -> list[Breach]:
        logs = [path for path in sorted(self.folder.glob("*.log")) if path.name != "broker.log"]
        return [
            Breach("I5", path.name, f"holds the {secret.partition('-')[0]}")
            for path in logs
            for secret in self._secrets
            if secret in path.read_text(errors="replace")
        ]


def _fill(report: Report, record: Record, stored: dict[str, Stored], verdict: Verdict, lease: float) -> None:
    report.acknowledged = sum(job_record.acknowledged is not None for job_record in record.jobs.values())
    report.submits_that_raised = record.unknown
    report.jobs = len(stored)
    report.ended = dict(Counter(kept.stamp.split()[0] for kept in stored.values()).most_common())
    report.faults = dict(Counter(fault.name for fault in record.faults if not fault.failed).most_common())
    exits = Counter(str(line["code"]) for line in record.deaths if line["name"] == "worker")
    report.worker_exits = dict(exits.most_common())
    report.lost = sum("is lost" in breach.what for breach in verdict.breaches)
    report.lost_by_the_broker, report.ends_undone_by_the_broker = verdict.lost, verdict.undone
    report.ended_twice = len({breach.job for breach in verdict.breaches if breach.rule == "I2"})
    report.run_again = dict(repeated_runs(record, stored).most_common())
    found = takeovers(record, stored, lease)
    undisturbed = [takeover for takeover in found if not takeover.disturbances]
    report.leases_until_taken_over = spread(takeover.leases for takeover in found)
    report.leases_until_taken_over_undisturbed = spread(takeover.leases for takeover in undisturbed)
    report.taken_over_after_two_leases = late_by_cause(found)
    report.late_takeovers = [str(takeover) for takeover in found if takeover.leases > PROMISED_LEASES]
    report.until_a_job_ended_after_the_brokers_return = spread(returns(record, stored))
    report.breaches = verdict.breaches


@asynccontextmanager
async def slow_way(url: str) -> AsyncIterator[str]:
    """The URL of a slow link to a broker: each connection has so many bytes a second, each way."""
    proxy = Proxy(url)
    proxy.rate = SLOW_BYTES
    await proxy.start()
    try:
        yield proxy.url.replace("//", f"//:{urlsplit(url).password}@", 1)
    finally:
        await proxy.close()


@asynccontextmanager
async def _beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run work during the block; raise its error at the end."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        await cancel_and_wait(*tasks)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()):
            raise error


async def _up(server: SoakServer) -> None:
    """Wait for the broker, and lift what a broken off fault has set."""
    async with asyncio.timeout(60):
        while True:
            try:
                async with server.admin() as admin:
                    await admin.config_set("maxmemory", 0)
                    return
            except (redis.RedisError, OSError) as error:
                print(f"waiting for the broker: {error}", file=sys.stderr)
                await asyncio.sleep(0.5)
