"""The context: what a tool knows about its job, and where its reports go."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from taskserver.domain.events import EventKind, Report
from taskserver.tools import Context


class Buffer:
    """A sink that is full after ``capacity`` reports, and counts the waits."""

    def __init__(self, capacity: int = 1000) -> None:
        self.reports: list[Report] = []
        self.capacity = capacity
        self.emptied = asyncio.Event()
        self.waiting = asyncio.Event()
        self.threads_waited = 0

    def put(self, report: Report) -> bool:
        self.reports.append(report)
        return len(self.reports) < self.capacity

    async def room(self) -> None:
        self.waiting.set()
        await self.emptied.wait()

    def wait_for_room(self) -> None:
        self.threads_waited += 1

    @property
    def texts(self) -> list[str]:
        return [report.text for report in self.reports]


def context(sink: Buffer) -> Context:
    return Context(
        job_id="default-1", queue="default", attempt=2, max_attempts=4, idempotency_key="key", sink=sink, tags=("a",)
    )


def in_thread(call: Callable[[], Any]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def test_it_knows_the_job():
    ctx = context(Buffer())
    assert (ctx.job_id, ctx.queue, ctx.attempt, ctx.max_attempts) == ("default-1", "default", 2, 4)
    assert (ctx.idempotency_key, ctx.session_id, ctx.tags, ctx.cancelled) == ("key", None, ("a",), False)


async def test_progress_and_output_are_recorded_in_order():
    sink = Buffer()
    ctx = context(sink)
    await ctx.progress(0.5, "half")
    await ctx.emit("text")
    assert sink.reports == [Report(EventKind.PROGRESS, "half", 0.5), Report(EventKind.OUTPUT, "text")]


def test_a_report_is_recorded_even_if_nobody_awaits_it():
    sink = Buffer()
    context(sink).progress(1)
    assert sink.reports == [Report(EventKind.PROGRESS, "", 1.0)]


async def test_awaiting_waits_while_the_buffer_is_full():
    sink = Buffer(capacity=1)
    ctx = context(sink)

    async def report() -> None:
        await ctx.emit("a")

    task = asyncio.create_task(report())
    await sink.waiting.wait()
    assert (sink.texts, task.done()) == (["a"], False)
    sink.emptied.set()
    await task


async def test_awaiting_does_not_wait_while_there_is_room():
    sink = Buffer()
    await context(sink).emit("a")
    assert not sink.waiting.is_set()


def test_a_thread_waits_in_the_call_itself():
    sink = Buffer(capacity=1)
    ctx = context(sink)
    in_thread(lambda: ctx.emit("a"))
    assert (sink.texts, sink.threads_waited) == (["a"], 1)


def test_a_cancelled_thread_is_not_held_up():
    sink = Buffer(capacity=1)
    ctx = context(sink)
    ctx._cancel()
    in_thread(lambda: ctx.emit("a"))
    assert (ctx.cancelled, sink.threads_waited) == (True, 0)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), float("inf"), "0.5", None])
def test_a_fraction_outside_0_to_1_is_refused(fraction: Any):
    sink = Buffer()
    with pytest.raises(ValueError, match="progress must be a number between 0 and 1"):
        context(sink).progress(fraction)
    assert sink.reports == []


def test_text_that_is_not_a_string_is_refused():
    ctx = context(Buffer())
    with pytest.raises(ValueError, match="expected a string, got bytes"):
        ctx.emit(b"x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected a string, got int"):
        ctx.progress(0.5, 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["a" * 200_000, "ä" * 100_000, "x" + "€" * 70_000, "😀" * 40_000])
def test_long_output_is_split_between_characters(text: str):
    sink = Buffer()
    context(sink).emit(text)
    assert "".join(sink.texts) == text
    assert all(65_532 < len(piece.encode()) <= 65_536 for piece in sink.texts[:-1])
    assert 0 < len(sink.texts[-1].encode()) <= 65_536


def test_output_of_just_one_piece_is_not_split():
    sink = Buffer()
    context(sink).emit("a" * 65_536)
    assert len(sink.reports) == 1


def test_empty_output_is_not_an_event():
    sink = Buffer()
    context(sink).emit("")
    assert sink.reports == []


def test_lone_surrogates_are_replaced():
    sink = Buffer()
    ctx = context(sink)
    ctx.emit("a\ud800b")
    ctx.progress(0, "\udfff")
    assert sink.texts == ["a?b", "?"]


def test_a_long_progress_text_is_cut_off():
    sink = Buffer()
    context(sink).progress(0, "ä" * 5000)
    assert sink.texts == ["ä" * 1000]


def test_the_logger_names_the_job(caplog: pytest.LogCaptureFixture):
    ctx = context(Buffer())
    with caplog.at_level(logging.INFO, "taskserver.tool"):
        ctx.logger.info("hello %s", "you", extra={"page": 3})
    (record,) = caplog.records
    assert record.getMessage() == "hello you"
    assert (record.__dict__["job_id"], record.__dict__["attempt"], record.__dict__["page"]) == ("default-1", 2, 3)
    assert ctx.logger is ctx.logger
