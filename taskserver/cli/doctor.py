"""``taskserver doctor``: is the broker fit to keep jobs?"""

from __future__ import annotations

import click

from taskserver.cli.connecting import open_client, run_async
from taskserver.cli.failures import FAILED, OK, exit_code
from taskserver.cli.options import broker_option, json_option
from taskserver.cli.screen import Styled, show_card, show_json
from taskserver.errors import BrokerDenied, BrokerError
from taskserver.store.health import Finding, examine

_MARKS = {"ok": Styled("✓", "green"), "warning": Styled("!", "yellow"), "error": Styled("✗", "red")}


@click.command()
@broker_option
@json_option
def doctor(broker_url: str | None, as_json: bool) -> None:
    """Check that the broker is fit to keep jobs, and say what to do if it is not.

    Exit code 0 if there is no error (warnings are told), 1 if there is one, 4 if the broker cannot be asked.
    """
    findings, code = run_async(_examine(broker_url))
    show_json([finding._asdict() for finding in findings]) if as_json else _show(findings)
    raise click.exceptions.Exit(code)


async def _examine(url: str | None) -> tuple[list[Finding], int]:
    try:
        async with open_client(url, answering=False) as client:
            findings = await examine(await client.connect())
    except BrokerError as error:
        return [Finding("broker", "error", str(error), _advice(error))], exit_code(error)
    return findings, FAILED if any(finding.level == "error" for finding in findings) else OK


def _advice(error: BrokerError) -> str:
    if isinstance(error, BrokerDenied):
        return "put the right user and password into TASKSERVER_BROKER_URL, and let that user run all commands on ts:*"
    return "start it, or check host, port and firewall; the URL is in TASKSERVER_BROKER_URL or --broker"


def _show(findings: list[Finding]) -> None:
    lines: list[tuple[str, object]] = []
    for finding in findings:
        mark, style = _MARKS[finding.level]
        lines.append((f"{mark} {finding.subject}", Styled(finding.text, style if finding.advice else "")))
        if finding.advice:
            lines.append(("", f"→ {finding.advice}"))
    show_card(lines)
