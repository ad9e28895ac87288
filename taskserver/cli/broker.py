"""``taskserver broker``: the embedded broker of this project, and access rules for a broker of your own."""

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
    """Start, stop or show the embedded broker; print access rules for a broker of your own.

    The embedded broker is used when no other is set. It belongs to the project around the current folder, or to the
    folder TASKSERVER_HOME. It starts on first use and stops soon after its last user, unless it was started here.
    """


@broker.command()
@json_option
def start(as_json: bool) -> None:
    """Start the embedded broker, and keep it running without users."""
    _show(embedded.start(), as_json)


@broker.command()
@click.option("--force", is_flag=True, help="Stop the embedded broker even while workers or clients use it.")
@json_option
def stop(force: bool, as_json: bool) -> None:
    """Stop the embedded broker. Its data is kept."""
    stopped = embedded.stop(force=force)
    if as_json:
        show_json({"stopped": stopped})
    else:
        show_text("embedded broker stopped" if stopped else "the embedded broker was not running")


@broker.command()
@json_option
def status(as_json: bool) -> None:
    """Show whether the embedded broker is running, and where. Starts nothing."""
    _show(embedded.status(), as_json)


@broker.command()
@click.option("--role", "names", multiple=True, type=click.Choice(list(ROLES)), help="Only this role; repeatable.")
@click.option("--user", metavar="NAME", help="User to give the role to. [default: the role's name]")
@click.option(
    "--password",
    "reference",
    metavar="REFERENCE",
    help="Reference to the password: file:/path or env:NAME. Only its SHA-256 is printed.",
)
@json_option
def acl(names: tuple[str, ...], user: str | None, reference: str | None, as_json: bool) -> None:
    """Print the commands that create a user for each role.

    Run them with redis-cli or valkey-cli. Each user gets only the rights that its role needs. Without --password, fill
    in the password's SHA-256 first; until then the server refuses the commands. The second command of each role is for
    servers newer than Redis 7.0, which refuses it.
    """
    if user is not None and len(names) != 1:
        raise click.UsageError("--user requires exactly one --role")
    if user is not None and not _USER.fullmatch(user):
        raise click.UsageError(f"{user!r} is not a valid user name: use 1 to 64 letters, digits, '_', '.' or '-'")
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
            ("runs until", "it is stopped" if found.stays else "its last user ends"),
            ("home", found.home),
            ("data", size(found.data_bytes)),
            ("log", found.log),
        ]
    )
