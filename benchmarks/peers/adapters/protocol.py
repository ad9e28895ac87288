"""How the harness talks with an adapter: one JSON object a line, a request on stdin, its answer on stdout.

As a *producer* an adapter answers requests: ``{"do": "submit", "task": "noop", "jobs": 1000, "how": "batched"}`` gives
``{"seconds": 0.02}``. As a *worker* it imports everything, says ``{"ready": true}``, waits for a line, and works until
it is killed; so the harness fills a queue first and no start-up time is measured.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

URL = os.environ.get("BENCH_URL", "")
"""The broker: ``redis://127.0.0.1:port/0``."""

CONCURRENCY = int(os.environ.get("BENCH_CONCURRENCY", "1"))
"""Jobs that this worker process may run at once."""

WORK = os.environ.get("BENCH_WORK", "")
"""What the worker's jobs do: ``noop``, ``pause`` … or ``burn``; some systems have a mode for each."""

PROCESSES = os.environ.get("BENCH_PROCESSES") == "1"
"""CPU-bound jobs run in processes of their own, rather than where the system runs plain functions."""

TTL = 3600
"""Seconds for which results are kept."""

TICK = 0.001
"""Seconds: an open loop submits together what fell due within one tick."""


class Unsupported(Exception):
    """The system has no way to do what was asked; the message says what is missing."""


class Producer:
    """Submits to one system and waits for its results. Methods are coroutines even where the system's are not.

    Attributes:
        blocking: The system's submit blocks, so that gathering submits cannot overlap them.
    """

    blocking: ClassVar[bool] = False

    async def open(self) -> None:
        """Connect to an empty broker."""

    async def close(self) -> None:
        """Disconnect."""

    async def submit(self, task: str, value: Any) -> Any:
        """Submit one job; returns what ``result`` needs."""
        raise NotImplementedError

    async def submit_many(self, task: str, values: Sequence[Any]) -> list[Any]:
        """Submit jobs in as few round trips as the system knows."""
        raise Unsupported("no batch submit")

    async def result(self, handle: Any) -> Any:
        """Wait for a job's result."""
        raise Unsupported("no way to wait for a result")


def serve(producer: Callable[[], Producer], work: Callable[[], None], loop: Callable[[Any], Any] = asyncio.run) -> None:
    """Be a producer or a worker, as the command line says.

    Args:
        producer: Makes the producer.
        work: Runs a worker in this process, until it is killed.
        loop: Runs the producer's main coroutine: ``uvloop.run`` where the system knows uvloop.
    """
    _end_with_harness()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else prints must not get between the answers
    if sys.argv[1] == "worker":
        print(json.dumps({"ready": True}), file=answers)
        if sys.stdin.readline():
            work()
        return
    loop(_answer(producer(), answers))


def _end_with_harness() -> None:
    """Have the kernel end this process when the harness dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


async def _answer(producer: Producer, answers: Any) -> None:
    print(json.dumps({"ready": True}), file=answers)
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            answer = await _REQUESTS[(request := json.loads(line)).pop("do")](producer, **request)
        except Unsupported as missing:
            answer = {"unsupported": str(missing)}
        except Exception as error:  # noqa: BLE001 - whatever it was goes into the table
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer), file=answers)


async def _open(producer: Producer) -> dict[str, Any]:
    await producer.open()
    return {}


async def _close(producer: Producer) -> dict[str, Any]:
    await producer.close()
    return {}


def _values(jobs: int, value: Any) -> Iterable[Any]:
    return range(jobs) if value is None else [value] * jobs


async def _submit(producer: Producer, task: str, jobs: int, how: str, value: Any = None) -> dict[str, Any]:
    """Submit jobs and say how long it took: one by one, gathered, batched, or whatever is fastest here."""
    values = list(_values(jobs, value))
    start = time.perf_counter()
    if how == "fastest":
        how = await _fill(producer, task, values)
    elif how == "batched":
        await producer.submit_many(task, values)
    elif how == "gathered":
        await _gathered(producer, task, values)
    else:
        for each in values:
            await producer.submit(task, each)
    return {"seconds": time.perf_counter() - start, "how": how}


async def _gathered(producer: Producer, task: str, values: Sequence[Any]) -> list[Any]:
    if producer.blocking:
        raise Unsupported("submit blocks")
    handles: list[Any] = []
    for start in range(0, len(values), 100):
        handles += await asyncio.gather(*(producer.submit(task, value) for value in values[start : start + 100]))
    return handles


async def _fill(producer: Producer, task: str, values: Sequence[Any]) -> str:
    """The fastest way that the system knows; a million jobs go in parts, as a program that makes them would."""
    try:
        for start in range(0, len(values), 10_000):
            await producer.submit_many(task, values[start : start + 10_000])
        return "batched"
    except Unsupported:
        pass
    if not producer.blocking:
        await _gathered(producer, task, values)
        return "gathered"
    for value in values:
        await producer.submit(task, value)
    return "one by one"


async def _latency(producer: Producer, task: str, jobs: int, seconds: float, value: Any = None) -> dict[str, Any]:
    """Submit a job, wait for its result, and again, for so many jobs or seconds; the first five only warm up."""
    samples: list[float] = []
    end = time.perf_counter() + seconds
    for each in _values(5 + jobs, value):
        start = time.perf_counter()
        if start > end and len(samples) > 10:
            break
        await producer.result(await producer.submit(task, each))
        samples.append(time.perf_counter() - start)
    return {"samples": samples[5:]}


async def _paced(producer: Producer, rate: float, seconds: float) -> dict[str, Any]:
    """Submit at a fixed rate, whatever the system does. Each job carries the time when it was *due*.

    So a producer that falls behind shows in the delay, instead of hiding it by sending less.
    """
    start, first, sent = time.perf_counter(), time.time_ns(), 0
    jobs = int(rate * seconds)
    while sent < jobs:
        now = time.perf_counter() - start
        due = min(jobs, int(now * rate) + 1)
        if due > sent:
            values = [first + int(position / rate * 1e9) for position in range(sent, due)]
            await _together(producer, values)
            sent = due
        else:
            await asyncio.sleep(min(TICK, sent / rate - now))
    return {"sent": sent, "seconds": time.perf_counter() - start}


async def _together(producer: Producer, values: Sequence[int]) -> None:
    """What is due goes as one batch where the system has batches, else at once, else one after another."""
    if len(values) > 1:
        try:
            await producer.submit_many("stamp", values)
            return
        except Unsupported:
            pass
    if producer.blocking:
        for value in values:
            await producer.submit("stamp", value)
    else:
        await asyncio.gather(*(producer.submit("stamp", value) for value in values))


async def _awaited(producer: Producer, jobs: int) -> dict[str, Any]:
    """Submit jobs, then wait for all of their results at once."""
    start = time.perf_counter()
    values = range(jobs)
    try:
        handles = await producer.submit_many("noop", values)
    except Unsupported:
        handles = (
            [await producer.submit("noop", value) for value in values]
            if producer.blocking
            else await _gathered(producer, "noop", values)
        )
    results = await asyncio.gather(*map(producer.result, handles))
    if sorted(results) != list(values):
        raise RuntimeError("results are missing or wrong")
    return {"seconds": time.perf_counter() - start}


_REQUESTS: dict[str, Callable[..., Any]] = {
    "open": _open,
    "close": _close,
    "submit": _submit,
    "latency": _latency,
    "paced": _paced,
    "awaited": _awaited,
}
