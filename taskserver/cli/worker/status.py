"""``taskserver worker status``: all live workers, as the broker knows them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
from msgspec import to_builtins

from taskserver.cli.connecting import with_inspector
from taskserver.cli.options import json_option
from taskserver.cli.screen import Column, Styled, show_json, show_table, show_text
from taskserver.cli.worker.options import host_and_queue, names_argument
from taskserver.observability.phrases import count, duration, size

if TYPE_CHECKING:
    from taskserver.admin import Inspector, WorkerInfo

WATCH_SECONDS = 1.0
JOBS_SHOWN = 3

COLUMNS = (
    Column("WORKER", shrinks=True),
    Column("SERVER"),
    Column("HOST", shrinks=True),
    Column("PID", right=True),
    Column("VERSION"),
    Column("QUEUES", shrinks=True),
    Column("TOOLS", shrinks=True),
    Column("SLOTS", right=True),
    Column("MEMORY", right=True),
    Column("HEARTBEAT", right=True),
    Column("UP", right=True),
    Column("RUNNING", shrinks=True),
)


@click.command()
@names_argument
@host_and_queue
@json_option
@click.option("--watch", is_flag=True, help="Refresh every second, until Ctrl-C.")
@with_inspector
async def status(
    inspector: Inspector, *, names: tuple[str, ...], host: str | None, queue: str | None, as_json: bool, watch: bool
) -> None:
    """List the live workers of all machines.

    Shows slots, running jobs, memory and last heartbeat. NAME is a task server, a supervisor or a single worker.
    """
    from asyncio import sleep

    while True:
        found = await inspector.workers(*names, host=host, queue=queue)
        if watch and sys.stdout.isatty():
            click.clear()
        show_json([to_builtins(each) for each in found], 0 if watch else 2) if as_json else _show(found)
        if not watch:
            return
        await sleep(WATCH_SECONDS)


def _show(workers: list[WorkerInfo]) -> None:
    show_table(COLUMNS, map(_row, workers), "no worker is running")
    if workers:
        hosts = len({each.host for each in workers})
        busy, slots = sum(each.busy for each in workers), sum(each.slots for each in workers)
        what = f"{count(len(workers), 'worker')} on {count(hosts, 'host')}"
        show_text(f"\n{what}, {busy:,} of {count(slots, 'slot')} busy")


def _row(worker: WorkerInfo) -> list[object]:
    stopping = worker.state == "stopping"
    return [
        Styled(f"{worker.name} (stopping)", "yellow") if stopping else worker.name,
        f"{worker.task_server}/{worker.replica}" if worker.replica else worker.task_server,
        worker.host,
        worker.pid,
        worker.version,
        ", ".join(worker.queues),
        ", ".join(worker.tools),
        f"{worker.busy}/{worker.slots}",
        size(worker.memory),
        f"{duration(worker.heartbeat_age)} ago",
        duration(round(worker.heartbeat_at + worker.heartbeat_age - worker.started_at), roughly=True),
        _jobs(worker),
    ]


def _jobs(worker: WorkerInfo) -> str:
    shown = [f"{job.tool or job.id} {duration(round(job.age), roughly=True)}" for job in worker.running[:JOBS_SHOWN]]
    more = worker.busy - len(shown)
    return ", ".join([*shown, f"{more} more"] if shown and more > 0 else shown)
