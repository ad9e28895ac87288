"""Worker processes that are killed, stuck or out of memory: every job ends once, and no late word of theirs counts.

See also tests/worker: test_lost_workers (killed and frozen workers), test_heartbeat (a blocked event loop),
test_stopping, and tests/acceptance/test_cli_worker (signals).
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from taskserver import JobFailed
from taskserver.worker.process_exit import EXIT_BROKEN
from tests.brokers import kinds
from tests.conftest import Eventually
from tests.faults.stage import Stage, stage
from tests.patience import PATIENCE

KILLS = 50
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage without workers; for what they do, one kind of broker is enough."""
    async with stage(max(kinds().values()), tmp_path, workers=0) as ready:
        yield ready


async def test_workers_killed_at_any_moment_while_they_claim_and_finish(it: Stage) -> None:
    dice = random.Random(4)
    it.lease = 0.3
    for _ in range(2):
        it.hire()
    for turn in range(KILLS):
        token = f"turn-{turn}"
        await it.client.submit_many([("quick", {"label": f"{token}-{n}"}) for n in range(20)], max_retries=100)
        await it.more("begin", 1)
        time.sleep(dice.uniform(0, 0.01))  # the kill comes at any moment of claiming, running and finishing
        it.kill(it.workers[0])
        it.hire()
    verdict, record = await it.verdict()
    assert verdict.breaches == []
    assert len(record.jobs) == KILLS * 20
    assert sum(len(job_record.runs) > 1 for job_record in record.jobs.values()) > 0


async def test_code_that_holds_the_interpreter_lock_loses_its_lease_and_cannot_write(it: Stage) -> None:
    first = it.hire()
    job = await it.client.submit("grip", {"label": "held"})  # its first attempt holds the lock for 2.5 leases
    await it.more("begin", 1)
    it.hire()
    result = await job.result(timeout=PATIENCE)
    assert result["attempt"] == 2
    await it.more("end", 1)  # now the first attempt has returned too
    assert [line.event for line in (await job.status()).history] == ["lost"]
    assert await job.result(timeout=PATIENCE) == result
    assert first.is_alive()
    verdict, _ = await it.verdict()
    assert verdict.breaches == []


async def test_a_tool_that_uses_up_all_memory_harms_its_own_job_only(it: Stage) -> None:
    worker = it.hire()
    hog = await it.client.submit("hog", {"label": "hog"})
    others = await it.client.submit_many(
        [(kind, {"label": f"{kind}-{n}"}) for n in range(5) for kind in ("quick", "talk", "flaky")], max_retries=20
    )
    ends = 0
    while not (await hog.status()).state.ended:
        await asyncio.to_thread(worker.join, 0.1)
        if worker.exitcode is not None:
            # It noticed that it could not go on, or the interpreter could not: wherever memory ran out first.
            assert worker.exitcode in (EXIT_BROKEN, 1, -signal.SIGABRT)
            ends, worker = ends + 1, it.hire()
    assert 1 <= ends <= 2  # in its first attempt the memory comes back, which may be in time
    with pytest.raises(JobFailed, match="2 attempts are used up"):
        await hog.result(timeout=PATIENCE)
    for job in others:
        await job.result(timeout=PATIENCE)
    verdict, _ = await it.verdict()
    assert verdict.breaches == []


@pytest.fixture
def as_first_process(it: Stage, tmp_path: Path) -> Iterator[psutil.Process]:
    """A worker with process id 1, as in a container: a signal without a handler does not end such a process."""
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0:
        pytest.skip("it takes root and unshare(1) to give a worker process id 1")
    env = {**os.environ, "SOAK_LEDGER": str(it.ledger_path), "SOAK_LEASE": "1"}
    command = [
        sys.executable,
        "-m",
        "taskserver",
        "worker",
        "--broker",
        it.server.url,
        "--tools",
        "tests.faults.soak.tools",
    ]
    with (tmp_path / "log").open("wb") as log:
        outer = subprocess.Popen(
            [unshare, "--pid", "--fork", "--kill-child", *command],
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stderr=log,
        )
    try:
        while not (children := psutil.Process(outer.pid).children()):
            assert outer.poll() is None
            time.sleep(0.01)
        yield children[0]
    finally:
        outer.kill()
        outer.wait()


async def test_as_process_1_it_stops_at_sigterm(
    it: Stage, as_first_process: psutil.Process, eventually: Eventually
) -> None:
    job = await it.client.submit("slow", {"label": "one", "seconds": 0.5})
    await it.more("begin", 1)
    as_first_process.send_signal(signal.SIGTERM)
    assert (await job.result(timeout=PATIENCE))["attempt"] == 1

    async def gone() -> bool:
        return not as_first_process.is_running()

    await eventually(gone)


async def test_a_tool_whose_effect_came_before_its_death_meets_its_own_key_again(it: Stage, tmp_path: Path) -> None:
    """Exactly once is what the effect makes of the key; the queue only promises to come again."""
    paid = tmp_path / "paid"
    job = await it.client.submit("pay", {"label": "bill", "book": str(paid)})
    it.hire().join(30)  # it pays, and dies before it can say so
    it.hire()
    assert (await job.result(timeout=PATIENCE))["attempt"] == 2
    assert paid.read_text().split() == [job.id]
