"""``taskserver doctor``: is the broker fit to keep jobs, are the queues whole, and with ``--fix``: make them so."""

from __future__ import annotations

import click

from taskserver.cli.connecting import open_client, run_async
from taskserver.cli.failures import FAILED, OK, exit_code
from taskserver.cli.options import broker_option, json_option
from taskserver.cli.progress import Tell, shown_progress
from taskserver.cli.screen import Styled, show_card, show_json
from taskserver.errors import BrokerDenied, BrokerError
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.health import Finding, examine_schema, examine_servers
from taskserver.store.maintenance import doctor as checkup

_MARKS = {
    "ok": Styled("✓", "green"),
    "repaired": Styled("✓", "cyan"),
    "warning": Styled("!", "yellow"),
    "error": Styled("✗", "red"),
}


@click.command()
@click.option("--fix", is_flag=True, help="Repair the queues, say what was done, and look again.")
@broker_option
@json_option
def doctor(broker_url: str | None, as_json: bool, fix: bool) -> None:
    """Check that the broker is fit to keep jobs and that its queues are whole, and say what to do if not.

    It looks at every key of every queue, a page at a time. Workers repair the same damage by themselves; --fix does
    it at once, also where no worker runs. Nothing that a person may still want is deleted: it is set aside.

    Exit code 0 if there is no error (warnings are told), 1 if there is one, 4 if the broker cannot be asked.
    """
    findings, code = run_async(_examine(broker_url, fix))
    show_json([finding._asdict() for finding in findings]) if as_json else _show(findings)
    raise click.exceptions.Exit(code)


async def _examine(url: str | None, fix: bool) -> tuple[list[Finding], int]:
    try:
        async with open_client(url, answering=False) as client:
            broker = await client.connect()
            findings = await examine_servers(broker) + await examine_schema(broker, repair=fix)
            if findings[-1].level != "error":  # else nothing is looked at: it may mean something else
                with shown_progress() as tell:
                    repaired = await _repair(broker, tell) if fix else []
                    findings += repaired + await _look(broker, tell)
    except BrokerError as error:
        return [Finding("broker", "error", str(error), _advice(error))], exit_code(error)
    return findings, FAILED if any(finding.level == "error" for finding in findings) else OK


async def _look(broker: Broker, tell: Tell) -> list[Finding]:
    found = await checkup.examine_registry(broker)
    for queue in await checkup.queue_names(broker):
        found += await checkup.examine_queue(broker, queue, tell)
    return found


async def _repair(broker: Broker, tell: Tell) -> list[Finding]:
    done = await checkup.repair_registry(broker)
    for queue in await checkup.queue_names(broker):
        done += await checkup.repair_queue(broker, queue, tell)
    return done


def _advice(error: BrokerError) -> str:
    if isinstance(error, BrokerDenied):
        return "put the right user and password into TASKSERVER_BROKER_URL, and let that user run all commands on ts:*"
    return "start it, or check host, port and firewall; the URL is in TASKSERVER_BROKER_URL or --broker"


def _show(findings: list[Finding]) -> None:
    lines: list[tuple[str, object]] = []
    for finding in findings:
        mark, style = _MARKS[finding.level]
        plain = finding.level == "ok"
        lines.append((f"{mark} {finding.subject}", Styled(finding.text, "" if plain else style)))
        if finding.advice:
            lines.append(("", f"→ {finding.advice}"))
    show_card(lines)
