"""The demo from beginning to end: environment, workers, steps, clean-up and summary."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from taskserver.client.client import Client
from taskserver.demo.display import Display, StepResult
from taskserver.demo.environment import DemoEnvironment, delete_queue, make_environment
from taskserver.demo.files import MAX_FILES, default_folder, text_files
from taskserver.demo.interrupts import Interrupted, caught_signal, interruptible, until_signal
from taskserver.demo.steps import FAILURES, DemoContext, reason, run_steps
from taskserver.demo.workers import LEASE, SLOTS, TOOLS, DemoWorkers, LogTail
from taskserver.embedded import EmbeddedBroker
from taskserver.observability.phrases import count, size
from taskserver.store.broker.health import check_suitable
from taskserver.store.broker.opening import open_broker

EXIT_FAILED = 1
NOTHING_LEFT = "Nothing is left behind: no process, file or key."


class DemoResult(NamedTuple):
    """The outcomes of all steps, and the ends of the workers' logs if a step failed."""

    outcomes: list[StepResult]
    logs: list[LogTail]


def run(folder: Path | None, url: str | None, display: Display | None = None) -> int:
    """Run the demo, and return the exit code: 0, 1 if a check failed, or 128 plus a signal's number.

    Raises:
        TaskServerError: if it cannot start: no files, no broker.
    """
    display = display or Display()
    chosen = (folder or default_folder()).resolve()
    files = text_files(chosen)
    started = time.monotonic()
    try:
        with interruptible(), make_environment(url) as environment:
            result = asyncio.run(_run(environment, chosen, files, display))
    except Interrupted as interrupted:
        display.end(f"Interrupted. {NOTHING_LEFT}")
        return interrupted.exit_code
    return _conclude(display, result, files, time.monotonic() - started)


async def _run(environment: DemoEnvironment, folder: Path, files: list[Path], display: Display) -> DemoResult:
    with caught_signal() as caught:
        async with (
            open_broker(environment.url, EmbeddedBroker.acquire) as broker,
            Client(environment.url, queue=environment.queue) as client,
        ):
            await check_suitable(broker)
            try:
                async with DemoWorkers(environment) as workers:
                    display.opening(_facts(environment, folder, files, workers))
                    context = DemoContext(client, broker, workers, files, folder, display)
                    outcomes = await until_signal(_run_steps(context), caught)
                    outcomes.append(await _stop(workers))
            finally:
                await delete_queue(broker, environment.queue)
    return DemoResult(outcomes, [] if all(each.ok for each in outcomes) else workers.log_tails())


async def _run_steps(context: DemoContext) -> list[StepResult]:
    try:
        with context.display.wait("waiting for the workers"):
            await context.workers.wait_until_ready(context.broker)
    except FAILURES as error:
        return [StepResult(0, 0, 0.0, reason(error), ok=False, step="Start workers")]
    return await run_steps(context)


async def _stop(workers: DemoWorkers) -> StepResult:
    started = time.monotonic()
    failures = await workers.stop()
    text = "; ".join(failures) or "one killed, one stopped by SIGTERM"
    return StepResult(0, 0, time.monotonic() - started, text, ok=not failures, step="Stop workers")


def _facts(environment: DemoEnvironment, folder: Path, files: list[Path], workers: DemoWorkers) -> dict[str, str]:
    first = "the first " if len(files) == MAX_FILES else ""
    pids = " and ".join(str(each.pid) for each in workers.processes)
    total = sum(path.stat().st_size for path in files)
    return {
        "files": f"{first}{count(len(files), 'text file')} in {folder}, {size(total)}",
        "broker": environment.shown,
        "workers": f"processes {pids}, {SLOTS} slots each, lease {LEASE:g} s",
    }


def _conclude(display: Display, result: DemoResult, files: list[Path], seconds: float) -> int:
    display.summary(result.outcomes)
    failed = [each for each in result.outcomes if not each.ok]
    for each in failed:
        display.failure(f"{each.step}: {each.text}", result.logs if each is failed[-1] else [])
    if failed:
        return EXIT_FAILED
    display.end(f"All checks passed in {seconds:.1f} s. {NOTHING_LEFT}")
    display.next_steps(_next_steps(files))
    return 0


def _next_steps(files: list[Path]) -> dict[str, str]:
    nearest = min((os.path.relpath(path) for path in files), key=len)
    argument = quote(f"path={nearest}")
    return {
        "in one terminal: start a worker with the demo's tools": f"taskserver worker --tools {TOOLS}",
        "in another: submit a job and wait for its result": f"taskserver submit count_words {argument} --wait",
        "list your jobs": "taskserver job list",
        "check whether this broker is suitable for jobs": "taskserver doctor",
    }
