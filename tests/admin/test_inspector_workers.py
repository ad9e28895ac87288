"""Workers through the inspector: listed, stopped, restarted and scaled."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from taskserver import ConfigError, Inspector, tool
from taskserver.admin import WorkerInfo
from taskserver.errors import WorkerNotFound, WorkersUnchanged
from tests.acceptance.cli import Cli
from tests.conftest import Eventually, RunWorker


@tool
async def short() -> str:
    return "done"


@pytest.fixture
def cli(broker_url: str, tmp_path: Path) -> Iterator[Cli]:
    """Starts workers in processes of their own."""
    cli = Cli(tmp_path, {"TASKSERVER_BROKER_URL": broker_url})
    yield cli
    cli.close()


async def test_workers_are_listed_and_chosen(inspector: Inspector, run_worker: RunWorker) -> None:
    assert await inspector.workers() == []
    async with run_worker(short, queues=("mail",)) as worker:
        await worker.ready.wait()
        (found,) = await inspector.workers()
        assert (found.queues, found.tools, found.slots, found.supervisor) == (["mail"], ["short"], 4, None)
        assert await inspector.workers(found.name, host=found.host, queue="mail")
        assert await inspector.workers(host="elsewhere", queue="mail") == []
        with pytest.raises(WorkerNotFound, match=f"did you mean '{found.name}'?"):
            await inspector.workers(found.name + "x")


async def test_stop_drains_a_worker_and_ends_it(inspector: Inspector, run_worker: RunWorker) -> None:
    async with run_worker(short) as worker:
        await worker.ready.wait()
        (found,) = await inspector.workers()
        reported: list[int] = []
        assert await inspector.stop_workers(found.name, waiting=reported.append) == [found.name]
        assert reported == [1]
        assert await inspector.workers() == []


async def test_commands_name_their_workers(inspector: Inspector, run_worker: RunWorker) -> None:
    with pytest.raises(ConfigError, match="select workers by name"):
        await inspector.stop_workers()
    with pytest.raises(WorkerNotFound, match="no worker is running"):
        await inspector.stop_workers(everyone=True)
    async with run_worker(short) as worker:
        await worker.ready.wait()
        with pytest.raises(ConfigError, match="has no supervisor that could replace it"):
            await inspector.restart_workers(everyone=True)
        with pytest.raises(ConfigError, match="replicas must be between 1 and 1000"):
            await inspector.scale(0)


async def test_a_supervisor_is_scaled_and_restarted(inspector: Inspector, cli: Cli, eventually: Eventually) -> None:
    cli.start("worker", "--tools", "agent_tools", "--replicas", "1", "--reload")
    found: list[WorkerInfo] = []

    async def there() -> bool:
        found[:] = await inspector.workers()
        return bool(found)

    await eventually(there)
    with pytest.raises(WorkersUnchanged, match="still to come or go"):
        await inspector.scale(2, timeout=0)
    assert await inspector.scale(2, "worker") == (found[0].supervisor, 1, 2)
    before = {each.name for each in await inspector.workers()}
    assert set(await inspector.restart_workers("worker")) == before
    assert before.isdisjoint(each.name for each in await inspector.workers())
    assert len(await inspector.stop_workers(str(found[0].supervisor), now=True, wait=False)) == 2
