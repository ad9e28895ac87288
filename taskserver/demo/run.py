"""The demo from beginning to end: place, workers, play, cleaning up, and what to say about it."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from taskserver.client.client import Client
from taskserver.demo.files import MOST_FILES, default_folder, text_files
from taskserver.demo.fleet import LEASE, SLOTS, TOOLS, Fleet
from taskserver.demo.interrupts import Interrupted, interruptible, listening, until_heard
from taskserver.demo.place import Place, forget_queue, make_place
from taskserver.demo.play import FAILURES, Stage, play, reason
from taskserver.demo.show import Outcome, Show
from taskserver.observability.phrases import count, size
from taskserver.store.broker.health import check_suitable

EXIT_FAILED = 1


class Told(NamedTuple):
    """The outcomes of all acts, and the workers' last words if they matter."""

    outcomes: list[Outcome]
    logs: list[tuple[str, list[str]]]


def run(folder: Path | None, url: str | None, show: Show | None = None) -> int:
    """Play the demo, and return the exit code: 0, 1 if anything did not happen as told, or 128 and a signal's number.

    Raises:
        TaskServerError: if it cannot begin: no files, no broker.
    """
    show = show or Show()
    chosen = (folder or default_folder()).resolve()
    files = text_files(chosen)
    began = time.monotonic()
    try:
        with interruptible(), make_place(url) as place:
            told = asyncio.run(_perform(place, chosen, files, show))
    except Interrupted as interrupted:
        show.end("Interrupted; nothing of the demo is left: no process, file or key")
        return interrupted.exit_code
    return _conclude(show, told, files, time.monotonic() - began)


async def _perform(place: Place, folder: Path, files: list[Path], show: Show) -> Told:
    with listening() as heard:
        async with Client(place.url, queue=place.queue) as client:
            broker = await client.connect()
            await check_suitable(broker)
            try:
                async with Fleet(place) as fleet:
                    show.opening(_facts(place, folder, files, fleet))
                    outcomes = await until_heard(_play(Stage(client, fleet, files, folder, show)), heard)
                    outcomes.append(await _stop(fleet))
            finally:
                await forget_queue(broker, place.queue)
    well = all(each.ok for each in outcomes)
    return Told(outcomes, [] if well else list(fleet.last_words()))


async def _play(stage: Stage) -> list[Outcome]:
    try:
        with stage.show.wait("waiting for the workers"):
            await stage.fleet.ready(await stage.client.connect())
    except FAILURES as error:
        return [Outcome(0, 0, 0.0, reason(error), ok=False, step="Start workers")]
    return await play(stage)


async def _stop(fleet: Fleet) -> Outcome:
    began = time.monotonic()
    complaints = await fleet.stop()
    told = "; ".join(complaints) or "one killed, one ended by SIGTERM"
    return Outcome(0, 0, time.monotonic() - began, told, ok=not complaints, step="Stop workers")


def _facts(place: Place, folder: Path, files: list[Path], fleet: Fleet) -> list[tuple[str, str]]:
    first = "the first " if len(files) == MOST_FILES else ""
    pids = " and ".join(str(member.pid) for member in fleet.members)
    total = sum(path.stat().st_size for path in files)
    return [
        ("files", f"{first}{count(len(files), 'text file')} of {folder}, {size(total)}"),
        ("broker", place.shown),
        ("workers", f"processes {pids}, {SLOTS} slots each, lease {LEASE:g} s"),
    ]


def _conclude(show: Show, told: Told, files: list[Path], seconds: float) -> int:
    show.summary(told.outcomes)
    failed = [each for each in told.outcomes if not each.ok]
    for each in failed:
        show.failure(f"{each.step}: {each.told}", told.logs if each is failed[-1] else [])
    if failed:
        return EXIT_FAILED
    show.end(f"All as told, in {seconds:.1f} s, and nothing of it is left: no process, file or key.")
    show.next_steps(_next_steps(files))
    return 0


def _next_steps(files: list[Path]) -> list[tuple[str, str]]:
    nearest = min((os.path.relpath(path) for path in files), key=len)
    return [
        ("in one terminal: a worker with the demo's tools", f"taskserver worker --tools {TOOLS}"),
        (
            "in another: hand over a job, and wait for its result",
            f"taskserver submit count_words {quote(f'path={nearest}')} --wait",
        ),
        ("how that job went", "taskserver job list"),
        ("is this broker fit to keep jobs?", "taskserver doctor"),
    ]
