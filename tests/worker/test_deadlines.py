"""Attempts share timers, and each ends when its own time is over."""

from __future__ import annotations

import asyncio

from taskserver.domain.job import ClaimedJob
from taskserver.worker.attempt import Attempt, Deadlines


def attempt(key: str) -> Attempt:
    return Attempt(ClaimedJob("q", key, 1, 1, None, b""), None, None, 0.0)  # type: ignore[arg-type]


async def test_each_is_told_in_the_order_of_their_deadlines_and_those_that_ended_are_not() -> None:
    over: asyncio.Queue[str] = asyncio.Queue()
    deadlines = Deadlines(lambda attempt: over.put_nowait(attempt.job.key))
    later, sooner, ended = attempt("later"), attempt("sooner"), attempt("ended")
    deadlines.add(later, 0.3)
    deadlines.add(sooner, 0.01)
    deadlines.add(ended, 0.01)
    deadlines.discard(ended)
    assert [await over.get(), await over.get()] == ["sooner", "later"]
    assert over.empty()
    deadlines.discard(later)  # after the fact: harmless


async def test_attempts_that_end_together_share_a_timer() -> None:
    deadlines = Deadlines(lambda attempt: None)
    for number in range(1000):
        deadlines.add(attempt(str(number)), 600.0)
    assert len(deadlines._due) < 100
