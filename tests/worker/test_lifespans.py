"""Resources of a worker: opened once, in order, passed to the tools that name them, and closed after the last job."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import pytest

from taskserver import Client, JobFailed, Toolbox, worker_lifespan
from taskserver.errors import ArgumentsInvalid, ToolInvalid
from taskserver.tools import json_schema, load, tool_of
from tests.patience import PATIENCE
from tests.worker.conftest import Hire
from tests.worker.programs import lasting

OPENED, CLOSED = ["first opened loop", "second opened loop"], ["second closed loop", "first closed loop"]


@pytest.fixture
def diary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which resources note what happens to them."""
    monkeypatch.setenv(lasting.DIARY, str(tmp_path / "diary"))
    return tmp_path / "diary"


@pytest.mark.parametrize("user", lasting.USERS, ids=lambda user: user.__name__)
async def test_a_tool_gets_the_resources_that_it_names(client: Client, hire: Hire, diary: Path, user: Any) -> None:
    hired = await hire(user, concurrency=1)
    for _ in range(2):
        job = await client.submit(user, {"x": 1})
        assert await job.result(timeout=PATIENCE) == ["first", "first", "second"]
    await hired.stop()
    lines = diary.read_text().splitlines()
    assert (lines[:2], [line.split()[0] for line in lines[2:4]], lines[4:]) == (OPENED, ["ran", "ran"], CLOSED)


def test_a_module_is_loaded_with_its_lifespans() -> None:
    assert set(load(["tests.worker.programs.lasting"]).lifespans) == {lasting.first, lasting.second, lasting.broken}


async def test_a_resource_that_no_tool_names_is_opened_as_well(hire: Hire, diary: Path) -> None:
    hired = await hire(lasting.second)
    await hired.worker.ready.wait()
    await hired.stop()
    assert diary.read_text().splitlines() == [*OPENED, *CLOSED]


async def test_resources_are_no_arguments(client: Client) -> None:
    user = tool_of(lasting.async_user)
    assert user is not None
    assert list(json_schema(user)["properties"]) == ["x"]
    with pytest.raises(ArgumentsInvalid, match="unknown argument 'one'"):
        await client.submit(lasting.async_user, {"x": 1, "one": "mine"})


async def test_a_tool_is_called_by_itself_and_a_resource_used_by_itself(diary: Path) -> None:
    async with lasting.first() as one:
        assert await lasting.async_user(1, one, ["mine"]) == ["first", "mine"]
    assert diary.read_text().splitlines() == ["first opened loop", "ran loop", "first closed loop"]


@worker_lifespan
async def broken() -> AsyncIterator[str]:
    raise OSError("no network")
    yield "never"


@worker_lifespan
async def demanding(host: str) -> AsyncIterator[str]:
    yield host


@worker_lifespan
async def circular(other: Annotated[str, circular]) -> AsyncIterator[str]:
    yield other


@pytest.mark.parametrize(
    ("lifespan", "says"),
    [
        (broken, r"^'broken' \(.*:\d+\) could not be opened: OSError: no network; repair that"),
        (demanding, r"^'demanding' .* missing 1 required positional argument: 'host'"),
        (circular, r"^'circular' .* needs itself"),
    ],
)
async def test_what_cannot_be_opened_ends_the_worker_at_the_start(
    hire: Hire, diary: Path, lifespan: Any, says: str
) -> None:
    hired = await hire(lasting.first, lifespan)
    with pytest.raises(ToolInvalid, match=says):
        await hired.life
    hired.life = asyncio.create_task(asyncio.sleep(0))
    assert diary.read_text().splitlines() == ["first opened loop", "first closed loop"]


@pytest.mark.usefixtures("diary")
async def test_in_a_process_it_fails_the_attempts_that_need_it(client: Client, hire: Hire) -> None:
    guilty = (lasting.needs_broken, lasting.needs_broken_too)
    await hire(*guilty, lasting.USERS[1], concurrency=1)
    for each in guilty:
        with pytest.raises(JobFailed, match="could not be opened: OSError: no network"):
            await (await client.submit(each)).result(timeout=PATIENCE)
    assert await (await client.submit("sync_user_process", {"x": 1})).result(timeout=PATIENCE)


@pytest.mark.parametrize("wrong", [lambda: None, inspect.cleandoc, lasting.wrapped])
def test_only_an_async_generator_function_is_a_lifespan(wrong: Any) -> None:
    with pytest.raises(ToolInvalid, match="decorates an async function that yields the resource once"):
        worker_lifespan(wrong)


def test_a_toolbox_opens_nothing(diary: Path) -> None:
    Toolbox.of(*lasting.USERS, lasting.second)
    assert not diary.exists()
