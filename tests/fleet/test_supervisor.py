"""The supervisor in the test's event loop: what it promises to a process that runs one or several."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from taskserver import Client, ConfigError
from taskserver.domain.fleet import Action, FleetCommand
from taskserver.fleet.assignment import Assignment
from taskserver.fleet.supervisor import Supervisor, child
from taskserver.fleet.supervisor.exits import describe_exit
from taskserver.worker.config import WorkerConfig
from taskserver.worker.process_exit import EXIT_RECYCLE
from tests.patience import PATIENCE


def assignment(url: str, **changes: object) -> Assignment:
    known = {"modules": ("tests.fleet.replica_tools",), "broker_url": url, "loglevel": "warning"}
    return Assignment(**{**known, "worker": WorkerConfig(lease=1.5, concurrency=2), **changes})  # type: ignore[arg-type]


@asynccontextmanager
async def running(supervisor: Supervisor) -> AsyncIterator[Supervisor]:
    task = asyncio.create_task(supervisor.run())
    try:
        await asyncio.wait_for(supervisor.ready.wait(), PATIENCE)
        yield supervisor
    finally:
        supervisor.stop()
        await asyncio.wait_for(task, PATIENCE)
    assert supervisor.replicas == []


async def test_a_restart_under_load_loses_no_capacity_and_no_job(one_broker_url: str) -> None:
    async with Client(one_broker_url) as client, running(Supervisor(assignment(one_broker_url), 2)) as supervisor:
        before = {replica.name for replica in supervisor.replicas}
        supervisor.restart()
        jobs, least, count = [], 2, 0
        async with asyncio.timeout(PATIENCE):
            while before & {replica.name for replica in supervisor.replicas}:
                jobs += await client.submit_many([("doze", {"seconds": 0.02})])
                least, count = min(least, len(supervisor.replicas)), count + 1
                await asyncio.sleep(0.005)
        assert least == 2
        assert [replica.name in before for replica in supervisor.replicas] == [False, False]
        for job in jobs:
            await job.result(timeout=PATIENCE)
        statuses = [await job.status() for job in jobs]
        assert {(status.attempt, len(status.history)) for status in statuses} == {(1, 0)}


async def test_several_run_in_one_event_loop_and_scale(one_broker_url: str) -> None:
    first = Supervisor(assignment(one_broker_url, task_server="first"), 1)
    second = Supervisor(assignment(one_broker_url, task_server="second"), 1)
    assert first.name != second.name
    async with running(first), running(second):
        first.scale(2)
        async with asyncio.timeout(PATIENCE):
            while len(first.replicas) < 2:
                await asyncio.sleep(0.01)
        second.stop()
        assert len(first.replicas) == 2


async def test_a_command_that_arrives_twice_is_carried_out_once(one_broker_url: str) -> None:
    """Each of its replicas hands it on: the last one may be late, when other commands have been carried out."""
    async with running(Supervisor(assignment(one_broker_url), 1)) as supervisor:
        more, fewer = (
            FleetCommand(id=id_, action=Action.SCALE, whom=supervisor.name, replicas=replicas)
            for id_, replicas in (("more", 2), ("fewer", 1))
        )
        for command in (more, fewer, more):
            supervisor._execute(command)
        assert supervisor.wanted == 1


async def test_tools_that_cannot_be_loaded_raise_the_replicas_error(one_broker_url: str) -> None:
    supervisor = Supervisor(assignment(one_broker_url, modules=("nothing_of_this_name",)), 2)
    with pytest.raises(ConfigError, match="no module 'nothing_of_this_name'"):
        await asyncio.wait_for(supervisor.run(), PATIENCE)
    assert not supervisor.ready.is_set()


async def test_a_supervisor_that_is_cancelled_leaves_no_replica(one_broker_url: str) -> None:
    supervisor = Supervisor(assignment(one_broker_url), 1)
    task = asyncio.create_task(supervisor.run())
    await asyncio.wait_for(supervisor.ready.wait(), PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, PATIENCE)
    assert supervisor.replicas == []


async def test_a_restart_with_tools_that_broke_meanwhile_keeps_the_old_replicas(one_broker_url: str) -> None:
    supervisor = Supervisor(assignment(one_broker_url), 1)
    async with running(supervisor):
        (old,) = supervisor.replicas
        supervisor._assignment = assignment(one_broker_url, modules=("nothing_of_this_name",))
        refused = asyncio.Event()
        note = supervisor._note_refusal
        supervisor._replica_slots[1]._on_refused = lambda message: (note(message), refused.set())[0]
        supervisor.restart()
        await asyncio.wait_for(refused.wait(), PATIENCE)
        assert supervisor.replicas == [old]
        assert supervisor.ready.is_set()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (EXIT_RECYCLE, "exit code 75: it asked to be replaced; starting another"),
        (3, "exit code 3; starting another in"),
    ],
)
async def test_a_replica_that_asks_to_be_replaced_is_replaced_at_once(
    one_broker_url: str, caplog: pytest.LogCaptureFixture, code: int, message: str
) -> None:
    caplog.set_level("INFO", "taskserver.supervisor")
    async with Client(one_broker_url) as client, running(Supervisor(assignment(one_broker_url), 1)):
        job = await client.submit("leave", {"code": code})
        assert await job.result(timeout=PATIENCE) == 2
    (line,) = (each for each in caplog.messages if "exited: exit code" in each)
    assert message in line
    assert (" in " in line) == (code != EXIT_RECYCLE)


async def test_a_replica_that_is_stuck_is_killed_in_the_end(
    one_broker_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "KILL_SECONDS", 0.2)
    config = WorkerConfig(lease=1.5, grace_period=0)
    async with Client(one_broker_url) as client, running(Supervisor(assignment(one_broker_url, worker=config), 1)):
        async for event in (await client.submit("block")).events():
            if event.text == "blocking":
                break
    assert "did not stop in time: killing it" in caplog.text


@pytest.mark.parametrize("count", [0, -3, 1001])
def test_invalid_numbers_of_replicas(count: int) -> None:
    with pytest.raises(ConfigError, match="replicas must be between 1 and 1000"):
        Supervisor(Assignment(modules=("x",)), count)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-9, "SIGKILL: killed, perhaps because the system was out of memory"),
        (70, "exit code 70: it could not continue, see above"),
        (75, "exit code 75: it asked to be replaced"),
        (3, "exit code 3"),
        (-11, "SIGSEGV: crashed in native code"),
    ],
)
def test_exit_codes_in_words(code: int, words: str) -> None:
    assert describe_exit(code).startswith(words)
