"""Writing reports and settlements of attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from taskserver.domain.events import EVENTS_KEPT
from taskserver.domain.settlement import Defer, DeferLimits, Finish, PackedReport, Refusal, Release, Retry, Settlement
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.script_connection import ScriptConnection
from taskserver.store.replies import decode_pairs
from taskserver.store.scripts import Script, script

Call = tuple[Script, list[Any]]


async def settle(
    broker: Broker,
    queue: str,
    reports: Sequence[PackedReport],
    settlements: Sequence[Settlement],
    patience: DeferLimits,
) -> list[Refusal]:
    """Write reports and settlements of one queue. Safe to repeat when the answer was lost.

    Returns:
        The settlements that were refused because their job had moved on without this worker.

    Raises:
        BrokerUnavailable: if it is unknown whether they were written.
    """
    calls = _calls(reports, settlements, patience)
    keys = broker.keys(queue)
    answers = await broker.call(keys.prefix, lambda scripts: _send(scripts, keys.of_scripts, calls), once=True)
    return [
        Refusal(key, reason)
        for (called, _), answer in zip(calls, answers, strict=True)
        if answer and called.name != "report"
        for key, reason in decode_pairs(answer)
        if reason != "done"
    ]


def _calls(reports: Sequence[PackedReport], settlements: Sequence[Settlement], patience: DeferLimits) -> list[Call]:
    finish: list[Any] = []
    retry: list[Any] = []
    release: list[Any] = []
    defer: list[Any] = []
    for settlement in settlements:
        match settlement:
            case Finish():
                finish += settlement
            case Retry():
                retry += settlement
            case Release():
                release += settlement
            case Defer():
                defer += settlement
    calls: list[Call] = []
    if reports:
        calls.append((script("report"), [EVENTS_KEPT, *(value for report in reports for value in report)]))
    calls += [
        (script(name), args) for name, args in (("finish", finish), ("retry", retry), ("release", release)) if args
    ]
    if defer:
        calls.append((script("defer"), [*patience, *defer]))
    return calls


async def _send(scripts: ScriptConnection, keys: Sequence[str], calls: list[Call]) -> list[Any]:
    """Send settlements in one round trip, after the reports: these would be refused once their jobs have ended."""
    first = calls[:1] if len(calls) < 2 or calls[0][0].name == "report" else []
    answers = [await scripts.run(called, keys, *args) for called, args in first]
    return answers + await asyncio.gather(*(scripts.run(called, keys, *args) for called, args in calls[len(first) :]))
