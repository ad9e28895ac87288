"""``taskserver broker``: the embedded broker of this project."""

from __future__ import annotations

from dataclasses import asdict

import click

from taskserver import embedded
from taskserver.cli.lazy import SuggestingGroup
from taskserver.cli.options import json_option
from taskserver.cli.phrases import size
from taskserver.cli.screen import Styled, show_card, show_json, show_text
from taskserver.embedded import EmbeddedStatus


@click.group(cls=SuggestingGroup)
def broker() -> None:
    """Start, stop or look at the embedded broker, which runs when no other is named.

    It belongs to the project around the current folder, or to the folder TASKSERVER_HOME. It starts by itself and
    stops soon after its last user; one that was started here stays.
    """


@broker.command()
@json_option
def start(as_json: bool) -> None:
    """Start it unless it runs, and let it run on without users."""
    _show(embedded.start(), as_json)


@broker.command()
@click.option("--force", is_flag=True, help="Also while workers or clients use it.")
@json_option
def stop(force: bool, as_json: bool) -> None:
    """Stop it; its data stays."""
    stopped = embedded.stop(force=force)
    if as_json:
        show_json({"stopped": stopped})
    else:
        show_text("the embedded broker has stopped" if stopped else "the embedded broker was not running")


@broker.command()
@json_option
def status(as_json: bool) -> None:
    """Whether it runs, and where; starts nothing."""
    _show(embedded.status(), as_json)


def _show(found: EmbeddedStatus, as_json: bool) -> None:
    if as_json:
        show_json(asdict(found))
        return
    show_card(
        [
            ("state", Styled("running", "green") if found.running else Styled("not running", "yellow")),
            ("server", f"{found.version}, process {found.pid}" if found.running else None),
            ("url", found.url),
            ("in use", "yes" if found.users else "no"),
            ("stays", "until it is stopped" if found.stays else "while it is used"),
            ("home", found.home),
            ("data", size(found.data_bytes)),
            ("log", found.log),
        ]
    )
