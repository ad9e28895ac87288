"""``taskserver doctor``: examine the broker and the queues, and repair them with ``--fix``."""

from __future__ import annotations

from typing import NamedTuple

import click

from taskserver.admin import Finding, Inspector
from taskserver.cli.failures import FAILED, OK, exit_code
from taskserver.cli.options import broker_option, json_option
from taskserver.cli.progress import progress_bar
from taskserver.cli.running import run_async
from taskserver.cli.screen import Styled, show_card, show_json
from taskserver.errors import BrokerDenied, BrokerError, TLSFailed

_MARKS = {
    "ok": Styled("✓", "green"),
    "repaired": Styled("✓", "cyan"),
    "warning": Styled("!", "yellow"),
    "error": Styled("✗", "red"),
}


@click.command()
@click.option("--fix", is_flag=True, help="Repair the queues, list what was done, and examine them again.")
@broker_option
@json_option
def doctor(broker_url: str | None, as_json: bool, fix: bool) -> None:
    """Examine the broker and its queues for problems, and advise how to solve them.

    Every key of every queue is examined, a page at a time. Workers repair the same damage on their own; --fix repairs
    it at once, even without workers. Nothing that a person may still want is deleted: it is set aside.

    Exit code 0 if there are at most warnings, 1 if there is an error, 4 if the broker does not answer.
    """
    examined = run_async(_examine(broker_url, fix))
    show_json([finding._asdict() for finding in examined.findings]) if as_json else _show(examined.findings)
    raise click.exceptions.Exit(examined.exit_code)


class _Examined(NamedTuple):
    findings: list[Finding]
    exit_code: int


async def _examine(url: str | None, fix: bool) -> _Examined:
    try:
        async with Inspector(url) as inspector:
            with progress_bar() as show_progress:
                findings = await (inspector.repair if fix else inspector.examine)(show_progress)
    except BrokerError as error:
        return _Examined([Finding("broker", "error", str(error), _advice(error))], exit_code(error))
    failed = any(finding.level == "error" for finding in findings)
    return _Examined(findings, FAILED if failed else OK)


def _advice(error: BrokerError) -> str:
    if isinstance(error, BrokerDenied):
        return "set the right user and password in TASKSERVER_BROKER_URL, and let that user run all commands on ts:*"
    if isinstance(error, TLSFailed):
        return "correct the URL, which is set by --broker or TASKSERVER_BROKER_URL, or the files that it names"
    return "start it, or check host, port and firewall; the URL is set by --broker or TASKSERVER_BROKER_URL"


def _show(findings: list[Finding]) -> None:
    lines: list[tuple[str, object]] = []
    for finding in findings:
        mark, style = _MARKS[finding.level]
        plain = finding.level == "ok"
        lines.append((f"{mark} {finding.subject}", Styled(finding.text, "" if plain else style)))
        if finding.advice:
            lines.append(("", f"→ {finding.advice}"))
    show_card(lines)
