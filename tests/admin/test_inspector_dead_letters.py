"""Dead letters through the inspector: listed, counted by cause, queued again and deleted."""

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from taskserver import Client, ConfigError, Inspector, Job, JobFailed, State, tool
from taskserver.errors import BrokerUnavailable, JobConflict
from taskserver.store.jobs import admin
from tests.conftest import RunWorker
from tests.patience import PATIENCE


@tool(max_retries=0)
async def fail(message: str) -> None:
    raise ValueError(message)


@pytest.fixture
async def letters(client: Client, run_worker: RunWorker) -> list[Job[None]]:
    """Three dead letters, the first the oldest; their worker is gone."""
    async with run_worker(fail):
        jobs = []
        for message in ("red", "red", "blue"):
            jobs.append(await client.submit(fail, {"message": message}))
            with pytest.raises(JobFailed):
                await jobs[-1].result(timeout=PATIENCE)
    return jobs


async def test_dead_letters_come_newest_first(inspector: Inspector, letters: list[Job[None]]) -> None:
    ids = [job.id for job in reversed(letters)]
    assert [letter.id async for letter in inspector.dead_letters()] == ids
    assert [letter.id async for letter in inspector.dead_letters(error="red", limit=1)] == ids[1:2]
    assert [letter async for letter in inspector.dead_letters(tool="add")] == []
    assert await inspector.count_dead_letters() == await inspector.count_dead_letters("default") == 3


async def test_one_dead_letter(inspector: Inspector, client: Client, letters: list[Job[None]]) -> None:
    letter = await inspector.dead_letter(letters[0].id)
    assert letter.error is not None
    assert (letter.arguments, letter.error.message) == ({"message": "red"}, "red")
    waiting = await client.submit("anything")
    with pytest.raises(JobConflict, match="is queued, not a dead letter"):
        await inspector.dead_letter(waiting.id)


async def test_causes_count_them_by_tool_and_error(inspector: Inspector, letters: list[Job[None]]) -> None:
    (cause,) = await inspector.causes()
    assert (cause.tool, cause.error, cause.number, cause.newest.id) == ("fail", "ValueError", 3, letters[-1].id)
    (cause,) = await inspector.causes(error="red")
    assert cause.number == 2


async def test_requeue_runs_them_again(inspector: Inspector, client: Client, letters: list[Job[None]]) -> None:
    waiting = await client.submit("anything")
    assert await inspector.requeue([waiting.id]) == (0, 0, 1)
    assert await inspector.requeue([]) == (0, 0, 0)
    assert await inspector.requeue(error="red") == (2, 0, 0)
    assert (await letters[0].status()).state is State.QUEUED
    assert await inspector.count_dead_letters() == 1


async def test_only_those_that_are_signed_are_signed_anew(
    broker_url: str, letters: list[Job[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "k" * 32)
    async with Inspector(broker_url, signing_keys="env:KEY") as inspector:
        assert await inspector.requeue(job.id for job in letters) == (0, 3, 0)


async def test_dead_letters_are_deleted_and_other_jobs_are_not(
    inspector: Inspector, client: Client, letters: list[Job[None]]
) -> None:
    waiting = await client.submit("anything")
    assert await inspector.delete_dead_letters([letters[0].id, letters[1].id, waiting.id]) == 2
    assert [job.id for job in await inspector.jobs()] == [waiting.id, letters[2].id]
    assert await inspector.delete_dead_letters(tool="add") == 0
    assert await inspector.delete_dead_letters(letters[2].id) == 1
    assert await inspector.delete_dead_letters(everything=True) == 0


@pytest.mark.parametrize("selection", [{}, {"job_ids": [], "tool": "add"}, {"job_ids": [], "everything": True}])
async def test_bulk_actions_need_either_ids_or_filters(inspector: Inspector, selection: dict[str, Any]) -> None:
    for act in (inspector.requeue, inspector.delete_dead_letters):
        with pytest.raises(ConfigError, match="select dead letters by their ids"):
            await act(**selection)


@pytest.mark.parametrize(
    "call",
    [
        lambda inspector: inspector.requeue(everything=True),
        lambda inspector: inspector.delete_dead_letters(everything=True),
        lambda inspector: inspector.purge("default"),
    ],
    ids=["requeue", "delete", "purge"],
)
async def test_a_call_that_fails_in_the_middle_says_how_many_jobs_it_has_changed(
    inspector: Inspector,
    client: Client,
    letters: list[Job[None]],
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[Inspector], Awaitable[Any]],
) -> None:
    await client.submit_many([("anything", {})] * 3)
    run, calls = admin._run_once, itertools.count(1)

    async def lost(*args: Any) -> Any:
        if next(calls) == 3:
            raise BrokerUnavailable("lost")
        return await run(*args)

    monkeypatch.setattr(admin, "BATCH", 1)
    monkeypatch.setattr(admin, "_run_once", lost)
    with pytest.raises(BrokerUnavailable, match=r"^lost; 2 jobs were changed before$") as caught:
        await call(inspector)
    assert caught.value.done == 2
