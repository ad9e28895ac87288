"""Telling the broker how attempts went: reports first, then how they ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoScriptError

from taskserver.domain.settlement import Defer, Finish, Patience, Refusal, Release, Report, Retry, Settlement
from taskserver.store.connection import Broker, call
from taskserver.store.replies import text_pairs
from taskserver.store.scripts import Script, script

EVENTS_KEPT = 2_000
"""Events kept per job, about; older ones are trimmed."""

Call = tuple[Script, list[Any]]


async def settle(
    broker: Broker, queue: str, reports: Sequence[Report], settlements: Sequence[Settlement], patience: Patience
) -> list[Refusal]:
    """Write reports and settlements of one queue. Safe to repeat when the answer was lost.

    Returns:
        The settlements that were not taken because their job had moved on without this worker.

    Raises:
        BrokerUnavailable: if it is unknown whether they were written.
    """
    calls = _calls(reports, settlements, patience)
    prefix = broker.keys(queue).prefix
    answers = await broker.ask(prefix, lambda client: _send(client, prefix, calls), once=True)
    return [
        Refusal(key, reason)
        for (called, _), answer in zip(calls, answers, strict=True)
        if called.name != "report"
        for key, reason in text_pairs(answer)
        if reason != "done"
    ]


def _calls(reports: Sequence[Report], settlements: Sequence[Settlement], patience: Patience) -> list[Call]:
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


async def _send(client: Any, prefix: str, calls: list[Call]) -> list[Any]:
    """Settlements share a round trip; those whose script the server did not know go again.

    Reports go before it, alone: sent again, they would be overtaken by the end of their jobs, and refused.
    """
    if len(calls) == 1 or (calls and calls[0][0].name == "report"):
        first = await call(client, calls[0][0], prefix, calls[0][1])
        return [first, *(await _send(client, prefix, calls[1:]) if calls[1:] else ())]
    async with client.pipeline(transaction=False) as pipe:
        for called, args in calls:
            pipe.evalsha(called.sha, 1, prefix, *args)
        answers: list[Any] = await pipe.execute(raise_on_error=False)
    for position, (called, args) in enumerate(calls):
        if isinstance(answers[position], NoScriptError):
            answers[position] = await call(client, called, prefix, args)
        elif isinstance(answers[position], Exception):
            raise answers[position]
    return answers
