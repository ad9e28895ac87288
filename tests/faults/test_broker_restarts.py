"""The broker is killed, frozen, full, busy or slow to come up: jobs wait, and then go on as if nothing had been."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis

from taskserver import BrokerUnavailable, Client
from taskserver.errors import BrokerFull
from tests.brokers import kinds
from tests.clients import broker_of
from tests.conftest import Eventually
from tests.faults.stage import SLOTS, Stage, stage
from tests.patience import PATIENCE

BINARIES = [pytest.param(path, id=name) for name, path in sorted(kinds().items()) if "://" not in path]


@pytest.fixture(params=BINARIES)
async def it(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    """Two workers and a broker that syncs every write; the test runs once for each kind at hand."""
    async with stage(request.param, tmp_path) as ready:
        yield ready


async def test_killed_under_load_it_loses_nothing_that_was_acknowledged(it: Stage) -> None:
    async with it.producing():
        for _ in range(3):
            await it.more("end", 50)
            it.server.kill()
            await it.server.start()
        await it.more("end", 50)
    verdict, _ = await it.verdict()
    assert verdict.breaches == []


async def test_a_power_cut_loses_what_was_not_synced_and_nothing_older(it: Stage) -> None:
    await it.server.set_fsync("everysec")
    keeping = asyncio.create_task(it.server.keep())
    async with it.producing():
        for _ in range(2):
            await it.more("end", 150)
            kept_until = it.server.cut_power()
            assert kept_until is not None
            it.ledger.write("cut", kept_until=kept_until)
            await it.server.start()
            it.server.wanted = True
        await it.more("end", 50)
    keeping.cancel()
    verdict, record = await it.verdict()
    assert verdict.breaches == []
    acknowledged = sum(job_record.acknowledged is not None for job_record in record.jobs.values())
    assert verdict.lost < acknowledged


@pytest.mark.parametrize("leases", [1.5, 4.0])
async def test_frozen_for_longer_than_a_lease_it_gives_no_job_to_a_second_worker(it: Stage, leases: float) -> None:
    freeze = leases * it.lease
    calls = [("slow", {"label": str(n), "seconds": freeze + 2}) for n in range(2 * SLOTS)]
    jobs = await it.client.submit_many(calls)
    await it.more("begin", len(jobs))
    it.server.signal(signal.SIGSTOP)
    await asyncio.sleep(freeze)  # the freeze itself: there is nothing to wait for
    it.server.signal(signal.SIGCONT)
    for job in jobs:
        await job.result(timeout=PATIENCE)
    verdict, record = await it.verdict()
    assert verdict.breaches == []
    assert {len(job_record.runs) for job_record in record.jobs.values()} == {1}


async def test_down_for_longer_than_a_lease_it_gives_no_job_to_a_second_worker(it: Stage) -> None:
    calls = [("slow", {"label": str(n), "seconds": 4.0}) for n in range(2 * SLOTS)]
    jobs = await it.client.submit_many(calls)
    await it.more("begin", len(jobs))
    it.server.kill()
    await asyncio.sleep(1.5 * it.lease)
    await it.server.start()
    for job in jobs:
        await job.result(timeout=PATIENCE)
    verdict, record = await it.verdict()
    assert verdict.breaches == []
    assert {len(job_record.runs) for job_record in record.jobs.values()} == {1}


async def test_while_it_loads_its_data_submits_wait_or_are_refused(it: Stage) -> None:
    await it.client.submit_many([("quick", {"label": str(n)}) for n in range(1000)])
    async with Client(it.server.url) as patient, Client(it.server.url) as impatient:
        (await broker_of(patient)).patience = PATIENCE
        (await broker_of(impatient)).patience = 0.0
        for seconds in (1.5, 6.0, 24.0):  # on a busy machine, it may be up before anybody has asked
            it.server.kill()
            starting = asyncio.create_task(it.server.start("--key-load-delay", str(it.server.load_delay(seconds))))
            submitting = asyncio.create_task(patient.submit("quick", {"label": "late"}))
            refused = await _refusal(impatient, starting)
            await starting
            await (await submitting).result(timeout=PATIENCE)
            if refused:
                break
    assert "does not answer" in refused
    verdict, _ = await it.verdict()
    assert verdict.breaches == []


async def _refusal(client: Client, starting: asyncio.Task[None]) -> str:
    while not starting.done():
        try:
            await client.submit("quick", {"label": "early"}, idempotency_key="early")
        except BrokerUnavailable as error:
            return str(error)
    return ""


@pytest.mark.parametrize("fsync", ["always", "everysec"])
async def test_a_full_disk_refuses_submits_and_strands_no_job(it: Stage, fsync: str) -> None:
    if not it.server.disk.small:
        pytest.skip("it takes root to mount a small file system")
    await it.server.set_fsync(fsync)
    keeping = asyncio.create_task(it.server.keep())  # with always, the server ends itself when it cannot write
    async with it.producing():
        await it.more("end", 20)
        it.server.disk.fill()
        await it.more("unknown", 1)
        it.server.disk.free()
        await it.more("end", 50)
    keeping.cancel()
    verdict, _ = await it.verdict()
    assert verdict.breaches == []


async def test_a_worker_that_starts_while_the_broker_takes_no_writes_waits(
    tmp_path: Path, eventually: Eventually
) -> None:
    options = ("--enable-protected-configs", "yes")
    async with stage(max(kinds().values()), tmp_path, *options, workers=0) as it, it.server.admin() as admin:
        job = await it.client.submit("quick", {"label": "one"})
        await admin.config_set("save", "3600 1")
        (tmp_path / "gone").mkdir()
        await admin.config_set("dir", str(tmp_path / "gone"))
        (tmp_path / "gone").rmdir()
        with pytest.raises(redis.ResponseError):
            await admin.save()  # from now on it refuses writes, as with a full disk (stop-writes-on-bgsave-error)
        worker = it.hire()
        worker.join(2)
        assert worker.is_alive()
        await admin.config_set("dir", it.server.disk.path)
        await admin.save()
        await job.result(timeout=PATIENCE)


async def test_out_of_memory_submits_are_refused_and_running_jobs_end(it: Stage) -> None:
    calls = [("flaky", {"label": "1"}), ("talk", {"label": "2"}), ("slow", {"label": "3", "seconds": 1.0})]
    running = await it.client.submit_many(calls)
    await it.more("begin", 3)
    async with it.server.admin() as admin:
        await admin.config_set("maxmemory", 1)
        with pytest.raises(BrokerFull):
            await it.client.submit("quick", {"label": "refused"})
        for job in running:
            await job.result(timeout=PATIENCE)  # retries, reports and outcomes are written all the same
        await admin.config_set("maxmemory", 0)
    await (await it.client.submit("quick", {"label": "after"})).result(timeout=PATIENCE)
    verdict, record = await it.verdict()
    assert verdict.breaches == []
    assert len(record.jobs) == 4


async def test_an_endless_script_of_somebody_else_is_waited_out(it: Stage) -> None:
    async with it.producing():
        await it.more("end", 20)
        async with it.server.admin() as victim, it.server.admin() as admin:
            endless = asyncio.create_task(victim.eval("while true do end", 0))
            await it.more("unknown", 1)  # clients hear BUSY, and after their patience say so
            await admin.script_kill()
            with pytest.raises(redis.ResponseError):
                await endless
        await it.more("end", 50)
    verdict, _ = await it.verdict()
    assert verdict.breaches == []


class Clock:
    """A server's clock that a test sets: libfaketime (a package of Debian) stands between it and the kernel's."""

    def __init__(self, folder: Path, binary: str) -> None:
        known = [
            *Path("/usr/lib").glob("*/faketime/libfaketime.so.1"),
            *map(Path, os.environ.get("LIBFAKETIME", "").split()),
        ]
        if not known:
            pytest.skip("it takes libfaketime to set a server's clock")
        self._offset = folder / "offset"
        self.set(0)
        self.binary = folder / "server"
        self.binary.write_text(
            f"#!/bin/sh\nexec env LD_PRELOAD={known[0]} FAKETIME_TIMESTAMP_FILE={self._offset} FAKETIME_NO_CACHE=1"
            f' FAKETIME_DONT_FAKE_MONOTONIC=1 {binary} "$@"\n'
        )
        self.binary.chmod(0o755)

    def set(self, seconds: int) -> None:
        """So many seconds ahead of this machine's."""
        self._offset.write_text(f"{seconds:+d}")


async def test_a_clock_that_jumps_an_hour_forward_and_back_loses_nothing(tmp_path: Path) -> None:
    clock = Clock(tmp_path, kinds()["valkey"])
    async with stage(str(clock.binary), tmp_path) as it:
        async with it.producing():
            await it.more("end", 50)
            clock.set(3600)
            await it.more("end", 50)
            clock.set(0)
            await it.more("end", 50)
            clock.set(3600)  # what was to come back by the clock that was ahead comes back now
            await it.more("end", 50)
        verdict, _ = await it.verdict()
    assert verdict.breaches == []
