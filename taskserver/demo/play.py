"""The play: an agent hands work to its workers. One function for each act; each checks what it tells."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

from taskserver.client.client import Client
from taskserver.client.job import Job
from taskserver.demo import checks, tools
from taskserver.demo.fleet import LEASE, Fleet
from taskserver.demo.show import Outcome, Show
from taskserver.domain.events import Event, EventKind
from taskserver.domain.ids import parse
from taskserver.domain.job import JobStatus, State
from taskserver.errors import JobCancelled, JobFailed, TaskServerError
from taskserver.observability import phrases
from taskserver.store.queries.search import JobFilter, dead_letters

ACT_SECONDS = 60.0
"""How long an act may take before it counts as failed."""
MOST_COMPARED = 40
"""Files that are compared with each other, the largest."""
FAILURES = (TaskServerError, checks.NotAsTold, OSError)
"""What an act may fail with, a timeout among them; anything else is a bug of the demo."""
CANCEL_SECONDS = 0.5
"""Within which a running job ends that was cancelled."""


class Stage(NamedTuple):
    """What the acts play with."""

    client: Client
    fleet: Fleet
    files: list[Path]
    folder: Path
    show: Show

    def name(self, path: Path) -> str:
        """A file as it is shown."""
        return str(path.relative_to(self.folder)) if path.is_relative_to(self.folder) else str(path)

    def some_files(self, count: int) -> list[Path]:
        """So many files; the same again where there are fewer."""
        return list(islice(cycle(self.files), count))


class Act(NamedTuple):
    """One act: its title, what it shows, and the play itself."""

    title: str
    shows: str
    play: Callable[[Stage], Awaitable[Outcome]]


async def play(stage: Stage) -> list[Outcome]:
    """Play all acts, up to the first that does not go as told."""
    outcomes: list[Outcome] = []
    for number, act in enumerate(ACTS, start=1):
        stage.show.act(number, act.title, act.shows)
        try:
            async with asyncio.timeout(ACT_SECONDS):
                outcome = await act.play(stage)
        except BrokenPipeError:  # nobody reads what is shown
            raise
        except FAILURES as error:
            outcome = Outcome(0, 0, 0.0, reason(error), ok=False)
        outcomes.append(outcome._replace(step=act.title))
        stage.show.outcome(outcome)
        if not outcome.ok:
            break
    return outcomes


def reason(error: Exception) -> str:
    """Why an act failed, in a sentence."""
    if isinstance(error, checks.NotAsTold):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else f"{type(error).__name__} after {ACT_SECONDS:g} s"


async def count(stage: Stage) -> Outcome:
    """Many jobs by one call, on the event loops of the workers."""
    counts, attempts, seconds = await _for_each_file(stage, tools.count_words)
    expected = {name: tools.Count(*_count(path)) for name, path in _named(stage)}
    checks.same("word count", counts, expected)
    words = sum(each.words for each in counts.values())
    return Outcome(len(counts), attempts, seconds, f"{phrases.count(words, 'word')}, as counted here")


async def fingerprint(stage: Stage) -> Outcome:
    """A sync tool, in threads of the workers."""
    digests, attempts, seconds = await _for_each_file(stage, tools.hash_file)
    expected = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in _named(stage)}
    checks.same("SHA-256", digests, expected)
    return Outcome(len(digests), attempts, seconds, f"{phrases.count(len(digests), 'digest')}, as computed here")


async def compare(stage: Stage) -> Outcome:
    """Work that keeps every processor busy."""
    paths = sorted(stage.files, key=lambda path: path.stat().st_size)[-MOST_COMPARED:]
    others = {path: [str(other) for other in paths if other != path] or [str(path)] for path in paths}
    calls = {path: {"path": str(path), "others": others[path]} for path in paths}
    found, attempts, seconds = await _for_each(stage, tools.find_relative, calls)
    began = time.monotonic()
    expected = {stage.name(path): tools.find_relative(path, list(map(Path, others[path]))) for path in paths}
    alone = time.monotonic() - began
    checks.same("nearest relative", found, expected)
    name, near = min(found.items(), key=lambda pair: pair[1].distance)
    stage.show.line(f"most alike, {near.distance:.2f} apart: {name} and {stage.name(near.path)}")
    return Outcome(len(found), attempts, seconds, f"as found here, alone in {alone:.2f} s")


async def follow(stage: Stage) -> Outcome:
    """Progress and output while the tool runs, and again from a cursor."""
    paths = stage.some_files(12)
    began = time.monotonic()
    job = await stage.client.submit(tools.find_themes, {"paths": list(map(str, paths))})
    events: list[Event] = []
    seen_while = State.QUEUED
    with stage.show.bar() as bar:
        async for event in job.events():
            if not events:
                seen_while = (await job.status()).state
            events.append(event)
            if event.kind is EventKind.OUTPUT:
                stage.show.line(event.text)
            else:
                bar(event.progress or 0.0, event.text)
    seconds = time.monotonic() - began
    status = await job.status()
    themes = {str(path): tools.theme_of(path.read_text(encoding="utf-8")) for path in paths}
    checks.all_succeeded([status])
    checks.same("theme", await job.result(), themes)
    checks.streamed(events, [f"{path.name} is about {themes[str(path)]!r}" for path in paths], seen_while)
    middle = events[len(events) // 2].cursor
    later = [event async for event in job.events(after=middle)]
    checks.resumed(events, middle, later)
    stage.show.line(f"followed again from the middle: the same {len(later)} events came")
    return Outcome(1, status.attempt, seconds, f"{len(events)} events in order, as it ran")


async def retry(stage: Stage) -> Outcome:
    """A tool that fails twice."""
    path = stage.files[0]
    began = time.monotonic()
    job = await stage.client.submit(tools.fetch, {"path": str(path)})
    with stage.show.wait("waiting for the attempt that succeeds"):
        size = await job.result()
    seconds = time.monotonic() - began
    status = await job.status()
    _show_history(stage, status)
    checks.retried(status, failures=2, error="ConnectionError")
    checks.same("size", {path.name: size}, {path.name: path.stat().st_size})
    return Outcome(1, status.attempt, seconds, "failed twice, then succeeded")


async def give_up(stage: Stage) -> Outcome:
    """A tool that always fails."""
    began = time.monotonic()
    job = await stage.client.submit(tools.load_settings, {"path": "gone.json"})
    with stage.show.wait("waiting until its attempts are used up"):
        try:
            await job.result()
        except JobFailed as error:
            stage.show.line(f"result() raised JobFailed: {error.error_type}")
    seconds = time.monotonic() - began
    status = await job.status()
    _show_history(stage, status)
    letters = dead_letters(await stage.client.connect(), [status.queue], JobFilter())
    dead = [parse(letter.id)[1] async for letter in letters]
    checks.died(status, attempts=3, error="FileNotFoundError", dead_letters=dead)
    return Outcome(1, status.attempt, seconds, "a dead letter, with its 3 errors")


async def crash(stage: Stage) -> Outcome:
    """A worker is killed in the middle of a job."""
    paths = stage.some_files(15)
    began = time.monotonic()
    job = await stage.client.submit(tools.find_themes, {"paths": list(map(str, paths))})
    with stage.show.bar() as bar:
        events = _heard(job, bar)
        reached = await _until(events, lambda event: (event.progress or 0.0) >= 0.2)
        killed = (await job.status()).worker
        member = stage.fleet.member(killed)
        await stage.fleet.kill(member)
        died_at = time.monotonic()
        stage.show.line(f"worker {member.pid} runs it, and is killed at {reached.progress or 0.0:.0%} (SIGKILL)")
        bar(reached.progress or 0.0, "nobody renews its lease")
        await _until(events, lambda event: event.attempt > 1)
        waited = time.monotonic() - died_at
        successor = stage.fleet.member((await job.status()).worker)
        stage.show.line(f"worker {successor.pid} runs it again, {waited:.1f} s later (the lease is {LEASE:g} s)")
        themes = await _rest(events, job)
    seconds = time.monotonic() - began
    status = await job.status()
    checks.taken_over(status, killed, waited, LEASE)
    checks.same("theme", themes, {str(path): tools.theme_of(path.read_text(encoding="utf-8")) for path in paths})
    return Outcome(1, status.attempt, seconds, f"taken over {waited:.1f} s after SIGKILL")


async def submit_twice(stage: Stage) -> Outcome:
    """The same idempotency key, two times at once and one time afterwards."""
    path, key = stage.files[0], f"count-{secrets.token_hex(3)}"
    began = time.monotonic()

    async def submit() -> Job[tools.Count]:
        return await stage.client.submit(tools.count_words, {"path": str(path)}, idempotency_key=key)

    first, second = await asyncio.gather(submit(), submit())
    results = [await first.result(), await second.result()]
    third = await submit()
    results.append(await third.result())
    seconds = time.monotonic() - began
    status = await third.status()
    stage.show.line(f"{key!r} three times is job {third.id}")
    checks.one_job([first.id, second.id, third.id], status)
    for result in results:
        checks.same("word count", {path.name: result}, {path.name: tools.Count(*_count(path))})
    return Outcome(1, status.attempt, seconds, "three submits, one job, run once")


async def cancel(stage: Stage) -> Outcome:
    """A running job is cancelled."""
    began = time.monotonic()
    paths = stage.some_files(30)
    job = await stage.client.submit(tools.find_themes, {"paths": list(map(str, paths))})
    with stage.show.bar() as bar:
        reached = await _until(_heard(job, bar), lambda event: (event.progress or 0.0) >= 0.1)
        asked = time.monotonic()
        await job.cancel()
        try:
            await job.result()
        except JobCancelled:
            stage.show.line(f"result() raised JobCancelled at {reached.progress or 0.0:.0%} of the job")
        took = time.monotonic() - asked
    seconds = time.monotonic() - began
    status = await job.status()
    checks.cancelled(status, took, CANCEL_SECONDS)
    return Outcome(1, status.attempt, seconds, f"ended {took * 1000:.0f} ms after the cancel")


ACTS = (
    Act("Count words", "submit_many hands over one job for each file; results as they complete", count),
    Act("Hash files", "a sync tool: the workers run it in threads", fingerprint),
    Act("Find relatives", "which files are most alike? Heavy work, spread over the processors", compare),
    Act("Follow a long job", "job.events() tells progress and output while the tool runs", follow),
    Act("Retry", "a tool that fails at its first two attempts", retry),
    Act("Dead letter", "a tool that fails at every attempt it has", give_up),
    Act("Kill a worker", "SIGKILL in the middle of a job: the other worker takes it over", crash),
    Act("Submit twice", "the same idempotency key is the same job", submit_twice),
    Act("Cancel", "a running job ends within half a second", cancel),
)


async def _for_each_file(stage: Stage, tool: Callable[..., Any]) -> tuple[dict[str, Any], int, float]:
    return await _for_each(stage, tool, {path: {"path": str(path)} for path in stage.files})


async def _for_each(
    stage: Stage, tool: Callable[..., Any], calls: dict[Path, dict[str, Any]]
) -> tuple[dict[str, Any], int, float]:
    """One job for each file: the results by the file's name, all attempts, and the seconds it took."""
    began = time.monotonic()
    jobs = await stage.client.submit_many([(tool, arguments) for arguments in calls.values()])

    async def result(path: Path, job: Job[Any]) -> tuple[str, Any]:
        return stage.name(path), await job.result()

    results = {}
    with stage.show.bar() as bar:
        for next_result in asyncio.as_completed(list(map(result, calls, jobs))):
            name, value = await next_result
            results[name] = value
            bar(len(results) / len(jobs), name)
    seconds = time.monotonic() - began
    statuses = await asyncio.gather(*(job.status() for job in jobs))
    checks.all_succeeded(statuses)
    return results, sum(status.attempt for status in statuses), seconds


async def _heard(job: Job[Any], bar: Callable[[float, str], None]) -> AsyncIterator[Event]:
    """The events of a job, its progress shown."""
    async for event in job.events():
        if event.progress is not None:
            bar(event.progress, f"{event.text}, attempt {event.attempt}")
        yield event


async def _until(events: AsyncIterator[Event], wanted: Callable[[Event], bool]) -> Event:
    """The next event that is wanted.

    Raises:
        NotAsTold: if the job ends before.
    """
    async for event in events:
        if wanted(event):
            return event
    raise checks.NotAsTold("the job ended too soon")


async def _rest(events: AsyncIterator[Event], job: Job[Any]) -> dict[str, str]:
    """Hear a job out, and return its result."""
    async for _ in events:
        pass
    themes: dict[str, str] = await job.result()
    return themes


def _show_history(stage: Stage, status: JobStatus) -> None:
    for line in status.history:
        error = f"{line.error.type}: {line.error.message}" if line.error else ""
        stage.show.line(f"{line.attempt}. {line.event}, {error}")


def _named(stage: Stage) -> Sequence[tuple[str, Path]]:
    return [(stage.name(path), path) for path in stage.files]


def _count(path: Path) -> tuple[int, int]:
    """Lines and words, counted another way than the tool does."""
    lines = path.read_bytes().decode().splitlines()
    return len(lines), sum(len(line.split()) for line in lines)
