"""How those who await jobs learn of their ends: a notification tells them, or they read the outcomes.

Notifications are messages on a submitter's channel about jobs that ended or have new events;
``lua/prelude/entries.lua`` writes them. ``d`` is followed, for each job that ended, by its 24 characters, the first
letter of its state, a byte with the length of its outcome, and the outcome. Long outcomes are left out, and so is what
an earlier attempt has left: then the length is ``ELSEWHERE``, and the outcome must be read. ``e`` is followed by the 24
characters of each job with new events.

Workers of earlier versions only send ``d`` and the 24 characters of each job.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from taskserver.domain.ids import LENGTH
from taskserver.domain.job import ENDED, Outcome, State
from taskserver.store.broker.connection import Broker

STATES = {state.encode(): state for state in State}
ELSEWHERE = 255
_BY_LETTER = {ord(state.value[0]): state for state in ENDED}
_LETTERS = [bytes((letter,)) for letter in _BY_LETTER]


EXPIRED_AT_ONCE = 500
"""Jobs whose time is over that one who looks at some of them ends besides these, the longest overdue ones first."""


async def read_outcomes(broker: Broker, queue: str, keys: Sequence[str]) -> list[Outcome | None]:
    """State and outcome of jobs, for those who await them; None for an unknown job.

    Jobs whose time to start is over end here, since there may be no worker to end them.

    If results are large, only those of the first jobs are returned, at least one: ask again for the others.
    """
    found = await _read_outcomes(broker, queue, keys)
    overdue = [key for key, each in zip(keys, found, strict=False) if each is not None and _is_overdue(each)]
    if overdue:
        await broker.run("expire", queue, EXPIRED_AT_ONCE, *overdue)
        found = await _read_outcomes(broker, queue, keys)
    return found


def _is_overdue(outcome: Outcome) -> bool:
    return outcome.data == b"0" and outcome.state not in ENDED


async def _read_outcomes(broker: Broker, queue: str, keys: Sequence[str]) -> list[Outcome | None]:
    answer = await broker.run("outcomes", queue, *keys)
    pairs = zip(answer[::2], answer[1::2], strict=True)
    return [Outcome(STATES[state], data) if state in STATES else None for state, data in pairs]


def ended_jobs(message: bytes) -> Iterator[tuple[str, Outcome | None]]:
    """The jobs that have ended, each with its outcome if included; none if the message is another or not valid."""
    at, end = 1, len(message) if message[:1] == b"d" else 0
    if message[at + LENGTH : at + LENGTH + 1] not in _LETTERS:  # the end, or another key: none begins so
        yield from ((key, None) for key in _keys(message[:end]))
        return
    while at + LENGTH + 2 <= end:
        letter, size = message[at + LENGTH], message[at + LENGTH + 1]
        data = at + LENGTH + 2
        included = letter in _BY_LETTER and size != ELSEWHERE
        after = data + (size if included else 0)
        if after > end:
            return
        key = message[at : at + LENGTH].decode("ascii", "replace")
        yield key, Outcome(_BY_LETTER[letter], message[data:after]) if included else None
        at = after


def jobs_with_events(message: bytes) -> Iterator[str]:
    """The jobs that have new events."""
    if message[:1] == b"e":
        yield from _keys(message)


def _keys(message: bytes) -> Iterator[str]:
    for at in range(1, len(message) - LENGTH + 1, LENGTH):
        yield message[at : at + LENGTH].decode("ascii", "replace")
