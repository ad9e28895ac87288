"""Keeping a file up, also in the background (``background.py``): ``python -m taskserver.fleet.detached``."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import msgspec

from taskserver.aio import cancel_and_wait
from taskserver.config.file import load
from taskserver.config.settings import settings
from taskserver.fleet import background
from taskserver.fleet.planning import Plan, plans
from taskserver.fleet.runtime import be_mortal, run_loop
from taskserver.fleet.up import Tell, Up
from taskserver.fleet.up_state import UpFolder
from taskserver.observability.logging import configure


class Detach(msgspec.Struct, frozen=True):
    """To a new process in the background: the file to keep up, and tools for task servers that name none."""

    file: str
    modules: tuple[str, ...] = ()


def keep_up(file: str, modules: tuple[str, ...], tell: Tell, link: socket.socket | None = None) -> None:
    """Keep a file up in this very process, until a signal ends it; then the process shall end too.

    Args:
        file: The configuration file.
        modules: Tools for task servers that name none.
        tell: Called with each step, in a sentence.
        link: To whoever waits until it is ready.

    Raises:
        TaskServerError: if the file, or something in it, cannot be brought up.
    """
    wanted = plans(load(file), modules)
    place = UpFolder.of(file)
    with place.held(file):
        be_mortal()
        configure(settings().loglevel)
        run_loop(_run(file, wanted, place, tell, link))


async def _run(file: str, wanted: list[Plan], place: UpFolder, tell: Tell, link: socket.socket | None) -> int:
    machine = Up(file, wanted, place, tell)
    reporting = asyncio.create_task(background.report(link, "", machine.ready.wait, machine.stop)) if link else None
    try:
        await machine.run()
    finally:
        if reporting:
            await cancel_and_wait(reporting)
    return 0


def launch(file: str, modules: tuple[str, ...]) -> Path:
    """Keep a file up in the background; return its log once everything is ready.

    Raises:
        TaskServerError: if it cannot start; nothing of it is left then.
    """
    log = UpFolder.of(file).create().log
    background.launch("taskserver.fleet.detached", file, Detach(file, modules), str(log))
    return log


def _run_detached(wanted: Detach, link: socket.socket) -> int:
    keep_up(wanted.file, wanted.modules, _log, link)
    return 0


def _log(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(background.become(Detach, _run_detached))
