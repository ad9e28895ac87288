"""The steps of the demo: an agent submits work to its workers. Each step checks what it claims."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

from taskserver.client.client import Client
from taskserver.client.job import Job
from taskserver.demo import checks, tools
from taskserver.demo.display import Display, StepResult
from taskserver.demo.workers import LEASE, DemoWorkers
from taskserver.domain.events import Event, EventKind
from taskserver.domain.ids import parse
from taskserver.domain.job import JobStatus, State
from taskserver.errors import JobCancelled, JobFailed, TaskServerError
from taskserver.observability import phrases
from taskserver.store.broker.connection import Broker
from taskserver.store.queries.search import JobFilter, dead_letters

STEP_SECONDS = 60.0
"""How long a step may take before it counts as failed."""
MAX_COMPARED = 40
"""How many files, the largest ones, are compared with each other."""
FAILURES = (TaskServerError, checks.CheckFailed, OSError)
"""What a step may fail with, timeouts included; anything else is a bug in the demo."""
CANCEL_SECONDS = 0.5
"""How soon a running job stops after it is cancelled."""


class DemoContext(NamedTuple):
    """What the steps work with."""

    client: Client
    broker: Broker
    workers: DemoWorkers
    files: list[Path]
    folder: Path
    display: Display

    def name(self, path: Path) -> str:
        """A file as it is shown."""
        return str(path.relative_to(self.folder)) if path.is_relative_to(self.folder) else str(path)

    def some_files(self, count: int) -> list[Path]:
        """``count`` files; if there are fewer, some of them repeatedly."""
        return list(islice(cycle(self.files), count))

    def for_each_file(self, compute: Callable[[Path], Any]) -> dict[str, Any]:
        """A value for each file, computed here, by the file's name."""
        return {self.name(path): compute(path) for path in self.files}


class Step(NamedTuple):
    """One step: its title, a description, and the function that runs it."""

    title: str
    description: str
    run: Callable[[DemoContext], Awaitable[StepResult]]


class Results(NamedTuple):
    """The results of many jobs by file name, the number of their attempts, and how long they took."""

    values: dict[str, Any]
    attempts: int
    seconds: float


async def run_steps(context: DemoContext) -> list[StepResult]:
    """Run all steps, up to the first that fails."""
    outcomes: list[StepResult] = []
    for number, step in enumerate(STEPS, start=1):
        context.display.step(number, step.title, step.description)
        try:
            async with asyncio.timeout(STEP_SECONDS):
                outcome = await step.run(context)
        except BrokenPipeError:  # nobody reads the output
            raise
        except FAILURES as error:
            outcome = StepResult(0, 0, 0.0, reason(error), ok=False)
        outcomes.append(outcome._replace(step=step.title))
        context.display.outcome(outcome)
        if not outcome.ok:
            break
    return outcomes


def reason(error: Exception) -> str:
    """Why a step failed, in a sentence."""
    if isinstance(error, checks.CheckFailed):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else f"{type(error).__name__} after {STEP_SECONDS:g} s"


async def count(context: DemoContext) -> StepResult:
    """Many jobs by one call, on the event loops of the workers."""
    counts, attempts, seconds = await _submit_for_each_file(context, tools.count_words)
    checks.same("word count", counts, context.for_each_file(_count))
    words = sum(each.words for each in counts.values())
    return StepResult(len(counts), attempts, seconds, f"{phrases.count(words, 'word')}, checked locally")


async def fingerprint(context: DemoContext) -> StepResult:
    """A synchronous tool, in threads of the workers."""
    digests, attempts, seconds = await _submit_for_each_file(context, tools.hash_file)
    expected = context.for_each_file(lambda path: hashlib.sha256(path.read_bytes()).hexdigest())
    checks.same("SHA-256", digests, expected)
    return StepResult(len(digests), attempts, seconds, f"{phrases.count(len(digests), 'digest')}, checked locally")


async def compare(context: DemoContext) -> StepResult:
    """Work that keeps every processor busy."""
    paths = sorted(context.files, key=lambda path: path.stat().st_size)[-MAX_COMPARED:]
    others = {path: [str(other) for other in paths if other != path] or [str(path)] for path in paths}
    calls = {path: {"path": str(path), "others": others[path]} for path in paths}
    found, attempts, seconds = await _submit_for_each(context, tools.find_similar, calls)
    started = time.monotonic()
    expected = {context.name(path): tools.find_similar(path, list(map(Path, others[path]))) for path in paths}
    alone = time.monotonic() - started
    checks.same("most similar file", found, expected)
    name, match = min(found.items(), key=lambda pair: pair[1].distance)
    context.display.line(f"most similar, distance {match.distance:.2f}: {name} and {context.name(match.path)}")
    return StepResult(len(found), attempts, seconds, f"checked; one process took {alone:.2f} s")


async def follow(context: DemoContext) -> StepResult:
    """Progress and output while the tool runs, and again from a cursor."""
    paths = context.some_files(12)
    started = time.monotonic()
    job = await context.client.submit(tools.find_themes, {"paths": list(map(str, paths))})
    events: list[Event] = []
    seen_while = State.QUEUED
    with context.display.bar() as bar:
        async for event in job.events():
            if not events:
                seen_while = (await job.status()).state
            events.append(event)
            if event.kind is EventKind.OUTPUT:
                context.display.line(event.text)
            else:
                bar(event.progress or 0.0, event.text)
    seconds = time.monotonic() - started
    status = await job.status()
    themes = _themes(paths)
    checks.all_succeeded([status])
    checks.same("theme", await job.result(), themes)
    checks.streamed(events, [f"{path.name} is about {themes[str(path)]!r}" for path in paths], seen_while)
    middle = events[len(events) // 2].cursor
    later = [event async for event in job.events(after=middle)]
    checks.resumed(events, middle, later)
    context.display.line(f"followed again from the middle: the same {len(later)} events")
    return StepResult(1, status.attempt, seconds, f"{len(events)} events, in order, while it ran")


async def retry(context: DemoContext) -> StepResult:
    """A tool that fails twice."""
    path = context.files[0]
    started = time.monotonic()
    job = await context.client.submit(tools.fetch, {"path": str(path)})
    with context.display.wait("waiting for the attempt that succeeds"):
        size = await job.result()
    seconds = time.monotonic() - started
    status = await job.status()
    _show_history(context, status)
    checks.retried(status, failures=2, error="ConnectionError")
    checks.same("size", {path.name: size}, {path.name: path.stat().st_size})
    return StepResult(1, status.attempt, seconds, "failed twice, then succeeded")


async def give_up(context: DemoContext) -> StepResult:
    """A tool that always fails."""
    started = time.monotonic()
    job = await context.client.submit(tools.load_settings, {"path": "gone.json"})
    with context.display.wait("waiting until all attempts have failed"):
        try:
            await job.result()
        except JobFailed as error:
            context.display.line(f"result() raised JobFailed: {error.error_type}")
    seconds = time.monotonic() - started
    status = await job.status()
    _show_history(context, status)
    letters = dead_letters(context.broker, [status.queue], JobFilter())
    dead = [parse(letter.id)[1] async for letter in letters]
    checks.died(status, attempts=3, error="FileNotFoundError", dead_letters=dead)
    return StepResult(1, status.attempt, seconds, "a dead letter with its 3 errors")


async def crash(context: DemoContext) -> StepResult:
    """A worker is killed in the middle of a job."""
    paths = context.some_files(15)
    started = time.monotonic()
    job = await context.client.submit(tools.find_themes, {"paths": list(map(str, paths))})
    with context.display.bar() as bar:
        events = _events(job, bar)
        reached = await _first(events, lambda event: (event.progress or 0.0) >= 0.2)
        killed = (await job.status()).worker
        worker = context.workers.named(killed)
        await context.workers.kill(worker)
        killed_at = time.monotonic()
        context.display.line(f"worker {worker.pid} runs it, and is killed at {reached.progress or 0.0:.0%} (SIGKILL)")
        bar(reached.progress or 0.0, "its lease is running out")
        await _first(events, lambda event: event.attempt > 1)
        waited = time.monotonic() - killed_at
        successor = context.workers.named((await job.status()).worker)
        context.display.line(f"worker {successor.pid} runs it again {waited:.1f} s later (the lease is {LEASE:g} s)")
        async for _ in events:
            pass
    themes = await job.result()
    seconds = time.monotonic() - started
    status = await job.status()
    checks.taken_over(status, killed, waited, LEASE)
    checks.same("theme", themes, _themes(paths))
    return StepResult(1, status.attempt, seconds, f"taken over {waited:.1f} s after SIGKILL")


async def submit_twice(context: DemoContext) -> StepResult:
    """The same idempotency key, twice at the same time and once afterwards."""
    path, key = context.files[0], f"count-{secrets.token_hex(3)}"
    started = time.monotonic()

    async def submit() -> Job[tools.Count]:
        return await context.client.submit(tools.count_words, {"path": str(path)}, idempotency_key=key)

    first, second = await asyncio.gather(submit(), submit())
    results = [await first.result(), await second.result()]
    third = await submit()
    results.append(await third.result())
    seconds = time.monotonic() - started
    status = await third.status()
    context.display.line(f"key {key!r}, three times: job {third.id}")
    checks.one_job([first.id, second.id, third.id], status)
    for result in results:
        checks.same("word count", {path.name: result}, {path.name: _count(path)})
    return StepResult(1, status.attempt, seconds, "three submits, one job, one run")


async def cancel(context: DemoContext) -> StepResult:
    """A running job is cancelled."""
    started = time.monotonic()
    paths = context.some_files(30)
    job = await context.client.submit(tools.find_themes, {"paths": list(map(str, paths))})
    with context.display.bar() as bar:
        reached = await _first(_events(job, bar), lambda event: (event.progress or 0.0) >= 0.1)
        cancelled_at = time.monotonic()
        await job.cancel()
        try:
            await job.result()
        except JobCancelled:
            context.display.line(f"result() raised JobCancelled at {reached.progress or 0.0:.0%} of the job")
        took = time.monotonic() - cancelled_at
    seconds = time.monotonic() - started
    status = await job.status()
    checks.cancelled(status, took, CANCEL_SECONDS)
    return StepResult(1, status.attempt, seconds, f"stopped {took * 1000:.0f} ms after the cancel")


STEPS = (
    Step("Count words", "submit_many submits one job per file; results arrive as jobs complete", count),
    Step("Hash files", "a synchronous tool: the workers run it in threads", fingerprint),
    Step("Find similar files", "which files are most alike? Heavy work, spread over the processors", compare),
    Step("Follow a long job", "job.events() streams progress and output while the tool runs", follow),
    Step("Retry", "a tool that fails on its first two attempts", retry),
    Step("Dead letter", "a tool that fails on every attempt", give_up),
    Step("Kill a worker", "SIGKILL in the middle of a job: the other worker takes it over", crash),
    Step("Submit twice", "the same idempotency key means the same job", submit_twice),
    Step("Cancel", "a running job stops within half a second", cancel),
)


async def _submit_for_each_file(context: DemoContext, tool: Callable[..., Any]) -> Results:
    return await _submit_for_each(context, tool, {path: {"path": str(path)} for path in context.files})


async def _submit_for_each(
    context: DemoContext, tool: Callable[..., Any], calls: dict[Path, dict[str, Any]]
) -> Results:
    """Submit one job per file, and wait for all results."""
    started = time.monotonic()
    jobs = await context.client.submit_many([(tool, arguments) for arguments in calls.values()])

    async def result(path: Path, job: Job[Any]) -> tuple[str, Any]:
        return context.name(path), await job.result()

    values = {}
    with context.display.bar() as bar:
        for next_result in asyncio.as_completed(list(map(result, calls, jobs))):
            name, value = await next_result
            values[name] = value
            bar(len(values) / len(jobs), name)
    seconds = time.monotonic() - started
    statuses = await asyncio.gather(*(job.status() for job in jobs))
    checks.all_succeeded(statuses)
    return Results(values, sum(status.attempt for status in statuses), seconds)


async def _events(job: Job[Any], bar: Callable[[float, str], None]) -> AsyncIterator[Event]:
    """The events of a job, while its progress is shown."""
    async for event in job.events():
        if event.progress is not None:
            bar(event.progress, f"{event.text}, attempt {event.attempt}")
        yield event


async def _first(events: AsyncIterator[Event], matches: Callable[[Event], bool]) -> Event:
    """The next event that matches.

    Raises:
        CheckFailed: if the job ends before.
    """
    async for event in events:
        if matches(event):
            return event
    raise checks.CheckFailed("the job ended too soon")


def _show_history(context: DemoContext, status: JobStatus) -> None:
    for line in status.history:
        error = f": {line.error.type}: {line.error.message}" if line.error else ""
        context.display.line(f"attempt {line.attempt}, {line.event}{error}")


def _themes(paths: list[Path]) -> dict[str, str]:
    return {str(path): tools.theme_of(path.read_text(encoding="utf-8")) for path in paths}


def _count(path: Path) -> tools.Count:
    """Lines and words, counted in another way than the tool does."""
    lines = path.read_bytes().decode().splitlines()
    return tools.Count(len(lines), sum(len(line.split()) for line in lines))
