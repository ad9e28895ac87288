"""``taskserver worker stop``, ``restart`` and ``scale``: commands to workers on any machine, over the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from taskserver.cli.connecting import with_inspector
from taskserver.cli.param_types import Duration
from taskserver.cli.screen import note, show_text
from taskserver.cli.worker.options import host_and_queue, names_argument
from taskserver.observability.phrases import count

if TYPE_CHECKING:
    from taskserver.admin import Inspector, Waiting

all_option = click.option("--all", "-a", "everyone", is_flag=True, help="All workers of this broker.")
timeout_option = click.option(
    "--timeout", type=Duration(), default=120, metavar="SECONDS", help="Maximum time to wait. [default: 120]"
)
no_wait_option = click.option("--no-wait", "wait", flag_value=False, default=True, help="Return at once.")


@click.command()
@names_argument
@all_option
@host_and_queue
@click.option("--now", is_flag=True, help="Skip the grace period: running jobs go to other workers.")
@timeout_option
@no_wait_option
@with_inspector
async def stop(inspector: Inspector, *, names: tuple[str, ...], **options: Any) -> None:
    """Stop workers after their running jobs have finished.

    They take no more jobs and finish those that run; what still runs after the grace period goes to other workers.
    NAME is a task server, a supervisor or a single worker, as shown by taskserver worker status.
    """
    _require_choice(names, options)
    stopped = await inspector.stop_workers(*names, **options, waiting=_waiting("to stop"))
    show_text(f"{count(len(stopped), 'worker')} {'stopped' if options['wait'] else 'asked to stop'}")


@click.command()
@names_argument
@all_option
@host_and_queue
@timeout_option
@no_wait_option
@with_inspector
async def restart(inspector: Inspector, *, names: tuple[str, ...], **options: Any) -> None:
    """Replace workers one after the other.

    Each new worker is ready before the old one drains. This needs a supervisor: start workers with --replicas 2 or
    more, or with --daemon.
    """
    _require_choice(names, options)
    replaced = await inspector.restart_workers(*names, **options, waiting=_waiting("to be replaced"))
    show_text(f"{count(len(replaced), 'worker')} {'replaced' if options['wait'] else 'asked to restart'}")


@click.command()
@click.argument("replicas", type=int, metavar="N")
@click.argument("name", required=False)
@host_and_queue
@timeout_option
@no_wait_option
@with_inspector
async def scale(inspector: Inspector, *, replicas: int, name: str | None, **options: Any) -> None:
    """Change how many replicas a running supervisor keeps.

    NAME is the supervisor or its task server. It can be left out if there is only one.
    """
    done = await inspector.scale(replicas, name, **options, waiting=_waiting("to come or go"))
    show_text(f"{done.supervisor}: {count(done.before, 'replica')} before, {count(done.requested, 'replica')} now")


def _require_choice(names: tuple[str, ...], options: dict[str, Any]) -> None:
    if not (names or options["everyone"] or options["host"] or options["queue"]):
        raise click.UsageError("select workers by name, --host, --queue or --all")


def _waiting(what: str) -> Waiting:
    return lambda left: note(f"waiting for {count(left, 'worker')} {what}")
