"""``taskserver broker``: the embedded broker of this project, and the rights of users at a broker of your own."""

from __future__ import annotations

import re
from dataclasses import asdict
from hashlib import sha256

import click

from taskserver import embedded
from taskserver.admin import ROLES
from taskserver.cli.groups import SuggestingGroup
from taskserver.cli.options import json_option
from taskserver.cli.screen import Styled, note, show_card, show_json, show_text
from taskserver.config.keys import read_secret
from taskserver.embedded import EmbeddedStatus
from taskserver.observability.phrases import size

_USER = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@click.group(cls=SuggestingGroup)
def broker() -> None:
    """Start, stop or look at the embedded broker, which runs when no other is named; print rights for your own.

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


@broker.command()
@click.option("--role", "names", multiple=True, type=click.Choice(list(ROLES)), help="Only this one; repeatable.")
@click.option("--user", metavar="NAME", help="The user who gets the role; else one of the role's name.")
@click.option(
    "--password", "reference", metavar="REFERENCE", help="file:/path or env:NAME; its SHA-256 is printed, never itself."
)
@json_option
def acl(names: tuple[str, ...], user: str | None, reference: str | None, as_json: bool) -> None:
    """Print the commands that make a user for each role.

    Each with the least rights that it needs, for redis-cli or valkey-cli at the broker. Without --password, the server
    refuses them until the place of the password is filled in. The second command of each role is for servers newer
    than Redis 7.0; that one refuses it.
    """
    if user is not None and len(names) != 1:
        raise click.UsageError("--user needs the one --role that it gets")
    if user is not None and not _USER.fullmatch(user):
        raise click.UsageError("a user's name has letters, digits, '_', '.' and '-' only")
    password = [] if reference is None else [f"#{sha256(read_secret(reference, '--password')).hexdigest()}"]
    chosen = {role: ROLES[role].rules(user or role, *password) for role in names or ROLES}
    if as_json:
        show_json({role: {"meaning": ROLES[role].meaning, "commands": rules} for role, rules in chosen.items()})
        return
    for role, rules in chosen.items():
        note(f"{role}: {ROLES[role].meaning}")
        for words in rules:
            show_text(" ".join(words))


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
