"""Whatever a tool raises is a failed attempt of its own job, and the worker continues."""

import asyncio

import pytest

from taskserver import Client, JobFailed, tool
from tests.patience import PATIENCE
from tests.worker.conftest import Hire


class Escape(BaseException):
    pass


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


ERRORS = {
    "SystemExit": lambda: SystemExit(1),
    "KeyboardInterrupt": lambda: KeyboardInterrupt(),
    "GeneratorExit": lambda: GeneratorExit(),
    "StopIteration": lambda: StopIteration(1),
    "StopAsyncIteration": lambda: StopAsyncIteration(),
    "CancelledError": lambda: asyncio.CancelledError(),
    "TimeoutError": lambda: TimeoutError("mine"),
    "MemoryError": lambda: MemoryError(),
    "Escape": lambda: Escape(),
    "Unprintable": lambda: Unprintable(),
    "TypeError, ValueError": lambda: ExceptionGroup("several", [ValueError("a"), TypeError("b")]),
    "SystemExit, tests.worker.test_misbehaving_tools.Escape": lambda: BaseExceptionGroup(
        "several", [SystemExit(1), Escape()]
    ),
}


@tool(max_retries=0)
async def raises(error: str) -> None:
    raise ERRORS[error]()


@tool(max_retries=0)
def raises_in_thread(error: str) -> None:
    raise ERRORS[error]()


@tool
async def fine() -> str:
    return "fine"


@pytest.mark.parametrize("guilty", [raises, raises_in_thread])
async def test_an_error_of_any_kind_fails_its_own_job_only(client: Client, hire: Hire, guilty: object) -> None:
    await hire(guilty, fine, concurrency=2)
    jobs = [await client.submit(guilty, {"error": error}) for error in ERRORS]  # type: ignore[call-overload]
    for job, error in zip(jobs, ERRORS, strict=True):
        with pytest.raises(JobFailed) as caught:
            await job.result(timeout=PATIENCE)
        assert caught.value.error_type.endswith((error, "RuntimeError")), error
        assert "test_misbehaving_tools.py" in caught.value.traceback or error == "CancelledError", error
    assert await (await client.submit(fine)).result(timeout=PATIENCE) == "fine"


async def test_a_tool_that_cancels_its_own_task_has_failed(client: Client, hire: Hire) -> None:
    @tool(max_retries=0)
    async def cancels_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.Event().wait()

    await hire(cancels_itself)
    with pytest.raises(JobFailed, match="cancelled by its own code"):
        await (await client.submit(cancels_itself)).result(timeout=PATIENCE)


async def test_the_traceback_begins_in_the_tool(client: Client, hire: Hire) -> None:
    await hire(raises)
    with pytest.raises(JobFailed) as caught:
        await (await client.submit(raises, {"error": "TimeoutError"})).result(timeout=PATIENCE)
    first_frame = caught.value.traceback.splitlines()[1]
    assert "test_misbehaving_tools.py" in first_frame
    assert caught.value.error_message == "mine"


async def test_a_very_long_error_is_cut(client: Client, hire: Hire) -> None:
    @tool(max_retries=0)
    async def verbose() -> None:
        raise ValueError("x" * 1_000_000)

    await hire(verbose)
    with pytest.raises(JobFailed, match="characters left out") as caught:
        await (await client.submit(verbose)).result(timeout=PATIENCE)
    assert len(caught.value.error_message) < 5_000


async def test_the_worker_survives_a_tool_that_cancels_whatever_task_it_finds(client: Client, hire: Hire) -> None:
    """Some libraries do so when they clean up. Here it is every service of the worker."""

    @tool
    async def clean_up() -> list[str]:
        names = ("fetcher of default", "settler of default", "reclaimer of default", "control", "watcher", "recycler")
        services = [task for task in asyncio.all_tasks() if task.get_name().endswith(names)]
        for service in services:
            service.cancel()
        return [service.get_name() for service in services]

    await hire(clean_up, lease=2.0, concurrency=2)
    for _ in range(3):
        names = await (await client.submit(clean_up)).result(timeout=PATIENCE)
        assert {"fetcher of default", "settler of default", "control"} <= set(names)


async def test_resources_that_other_code_closes_under_a_running_worker_are_reported(
    client: Client, hire: Hire, caplog: pytest.LogCaptureFixture
) -> None:
    @tool(max_retries=0)
    async def clean_up() -> None:
        for task in asyncio.all_tasks():
            if "Lifetime._live" in repr(task):
                task.cancel()
                await asyncio.wait((task,))

    await hire(clean_up)
    await (await client.submit(clean_up)).result(timeout=PATIENCE)
    assert "has cancelled what keeps resources open: restart this worker" in caplog.text
