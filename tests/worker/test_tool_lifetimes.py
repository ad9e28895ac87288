"""Class tools are instantiated where their jobs run, when the worker starts, and closed when it has stopped."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from taskserver import BaseConsumer, BaseMessage, Client, Context, Toolbox, tool
from taskserver.errors import ToolInvalid
from taskserver.tools import lifetime
from tests.patience import PATIENCE
from tests.worker.conftest import Hire
from tests.worker.programs import lasting

HOME = {"sync_run_here": "thread", "async_run_here": "loop", "sync_run_process": "main", "async_run_process": "loop"}
"""Where sync methods of a class are called; async ones are in the event loop, wherever it runs."""


@pytest.fixture
def diary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which class tools note what happens to them."""
    monkeypatch.setenv(lasting.DIARY, str(tmp_path / "diary"))
    return tmp_path / "diary"


@pytest.mark.parametrize("name", lasting.TOOLS)
async def test_a_class_is_made_entered_and_closed_where_its_jobs_run(
    client: Client, hire: Hire, diary: Path, name: str
) -> None:
    base, _, kind = name.partition("_")
    hired = await hire(lasting.TOOLS[name], concurrency=1)
    for _ in range(2):
        assert await (await client.submit(name)).result(timeout=PATIENCE) == "ran"
    await hired.stop()
    home = HOME[kind]
    own = "loop" if base.startswith("Async") else home
    entered = [f"entered {own}"] if base.endswith("Managing") else []
    closed = [] if base == "Noting" else [f"closed {own}"]
    assert diary.read_text().splitlines() == [f"made {home}", *entered, f"ran {home}", f"ran {home}", *closed]


@pytest.mark.parametrize("target", lasting.AWAITED, ids=lambda target: target.__name__)
async def test_what_can_be_awaited_is_awaited_wherever_it_comes_from(client: Client, hire: Hire, target: Any) -> None:
    await hire(target)
    assert await (await client.submit(target.__name__, {"x": "text"})).result(timeout=PATIENCE) == "text"


@pytest.mark.parametrize("target", lasting.GREETING, ids=lambda target: target.__name__)
async def test_each_attempt_has_context_variables_of_its_own(client: Client, hire: Hire, target: Any) -> None:
    await hire(target, concurrency=1)
    seen = [await (await client.submit(target.__name__, {"x": x})).result(timeout=PATIENCE) for x in ("ada", "bob")]
    assert seen == ["nobody", "nobody"]


def test_a_toolbox_instantiates_nothing(diary: Path) -> None:
    Toolbox.of(*lasting.TOOLS.values())
    assert not diary.exists()


class Order(BaseMessage): ...


class OrderConsumer(BaseConsumer[Order]):
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()

    async def process(self, message: Order, ctx: Context) -> bool:
        return asyncio.get_running_loop() is self.loop

    async def aclose(self) -> None:
        CLOSED.set()


CLOSED = threading.Event()


async def test_a_consumer_is_made_in_the_event_loop_and_closed(client: Client, hire: Hire) -> None:
    hired = await hire(OrderConsumer)
    assert await (await client.send(Order())).result(timeout=PATIENCE)
    await hired.stop()
    assert CLOSED.is_set()


class Stubborn:
    """A class tool whose method ``where`` raises or never returns."""

    def __init__(self, where: str, error: BaseException | None = None) -> None:
        self.where, self.error = where, error
        self.reached = asyncio.Event()

    async def reach(self, where: str) -> None:
        if where == self.where:
            self.reached.set()
            if self.error is not None:
                raise self.error
            await asyncio.Event().wait()

    def tool(self) -> Any:
        stubborn = self

        @tool(name="stubborn")
        class Fetch:
            async def run(self) -> None: ...

            async def __aenter__(self) -> None:
                await stubborn.reach("enter")

            async def __aexit__(self, *_: object) -> None:
                await stubborn.reach("exit")

        return Fetch


@pytest.mark.parametrize("error", [OSError("no network"), SystemExit(3), ExceptionGroup("g", [OSError("no network")])])
async def test_what_cannot_be_opened_ends_the_worker_and_closes_what_was(
    hire: Hire, diary: Path, error: BaseException
) -> None:
    hired = await hire(lasting.TOOLS["AsyncManaging_async_run_here"], Stubborn("enter", error).tool())
    with pytest.raises(ToolInvalid, match=r"^'.*Fetch' \(.*\) could not be instantiated: .*; repair that"):
        await hired.life
    hired.life = asyncio.create_task(asyncio.sleep(0))
    assert diary.read_text().splitlines() == ["made loop", "entered loop", "closed loop"]


async def test_a_worker_stops_while_its_tools_are_being_opened(hire: Hire) -> None:
    slow = Stubborn("enter")
    hired = await hire(slow.tool())
    await slow.reached.wait()
    async with asyncio.timeout(PATIENCE):
        await hired.stop()


@pytest.mark.parametrize(
    ("error", "line"), [(OSError("busy"), "could not be closed: OSError: busy"), (None, "were not closed within")]
)
async def test_what_cannot_be_closed_is_told_and_left(
    hire: Hire,
    diary: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException | None,
    line: str,
) -> None:
    monkeypatch.setattr(lifetime, "CLOSE_SECONDS", 0.1)
    stubborn = Stubborn("exit", error)
    hired = await hire(lasting.TOOLS["Closing_async_run_here"], stubborn.tool())
    await hired.worker.ready.wait()
    async with asyncio.timeout(PATIENCE):
        await hired.stop()
    assert line in caplog.text
    assert diary.read_text().splitlines() == ["made loop", "closed loop"]
