"""Events are read ahead of a slow reader, who would miss some otherwise; but not without end."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from taskserver.client import following
from taskserver.client.following import EventFollower
from taskserver.client.waiter import JobWatch
from taskserver.domain.events import Event, EventKind
from taskserver.domain.ids import JobRef
from taskserver.domain.job import Outcome, State
from taskserver.errors import BrokerUnavailable, ClientUnusable
from tests.patience import PATIENCE

JOB = JobRef("default", "0" * 24)
PAGES = 8


def event(number: int) -> Event:
    return Event(cursor=f"{number}-0", kind=EventKind.OUTPUT, attempt=1, text=f"{number} ", progress=None, at=0.0)


class Job:
    """A job with a page of events for each time that it is read, and then its end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.watch = JobWatch(("default", "results"))
        self.read = 0
        self.all_read = asyncio.Event()
        monkeypatch.setattr(following.job_queries, "events", self._page)

    async def _page(self, broker: Any, job: JobRef, after: str) -> list[Event]:
        assert (job, after) == (JOB, f"{self.read}-0" if self.read else "0")
        if self.read == PAGES:
            self.watch.end(Outcome(State.SUCCEEDED, b""))
            self.all_read.set()
            return []
        self.read += 1
        return [event(self.read)]

    def events(self) -> AsyncGenerator[Event]:
        return EventFollower(None, JOB, self.watch, "0").events()  # type: ignore[arg-type]


@pytest.fixture
async def job(monkeypatch: pytest.MonkeyPatch) -> Job:
    return Job(monkeypatch)


async def test_all_is_read_while_the_reader_holds_the_first_event(job: Job) -> None:
    events = job.events()
    assert (await anext(events)).text == "1 "
    await asyncio.wait_for(job.all_read.wait(), PATIENCE)
    assert [each.text async for each in events] == [f"{number} " for number in range(2, PAGES + 1)]
    assert job.watch.followers == set()


async def test_but_no_more_than_fits(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "AHEAD_BYTES", following.EVENT_BYTES)
    events = job.events()
    ahead = [job.read - each.attempt * int(each.text) async for each in events]
    assert max(ahead) <= 3
    assert job.read == len(ahead) == PAGES


async def test_a_reader_that_leaves_stops_the_reading(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "AHEAD_BYTES", 0)
    events = job.events()
    await anext(events)
    before = asyncio.all_tasks()
    await events.aclose()
    assert len(asyncio.all_tasks()) == len(before) - 1
    assert job.watch.followers == set()


async def test_events_go_on_after_an_outage_and_end_with_the_client(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[list[Event] | Exception] = [[event(1)], BrokerUnavailable("away"), [event(2)], []]

    async def read(*_: Any) -> list[Event]:
        page = pages.pop(0)
        if isinstance(page, Exception):
            raise page
        if not page:
            asyncio.get_running_loop().call_soon(job.watch.end, ClientUnusable("closed"))
            pages.append([])
        return page

    monkeypatch.setattr(following, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(following.job_queries, "events", read)
    events = job.events()
    assert [(await anext(events)).text for _ in range(2)] == ["1 ", "2 "]
    with pytest.raises(ClientUnusable, match="closed"):
        await anext(events)
