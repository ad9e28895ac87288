"""What a guard is, and how it is taken out of its script."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from taskserver.store import scripts
from taskserver.store.scripts import Script
from tests.architecture.package import LUA
from tests.store import test_transitions
from tests.store.harness import Queue

KINDS = {
    "fence": "only the newest attempt may write",
    "state": "a transition moves a job from the states of its row, and from no other",
    "live entry": "only the entry that a job's record names may move it",
    "owner": "one worker does not take what another one has",
    "attempts": "every attempt is counted, and none follows the last one",
    "once": "what is repeated happens once",
    "wake-up": "nothing strands a job: what wakes it stays, or is made anew",
    "record": "a record or a key that is not as it should be stops nothing",
}


class Check(NamedTuple):
    """A test of the store with its arguments; all it needs besides is an empty queue."""

    function: Callable[..., Awaitable[None]]
    arguments: dict[str, Any]

    @property
    def path(self) -> str:
        return self.function.__module__.replace(".", "/") + ".py"

    def __str__(self) -> str:
        return self.function.__name__

    async def run(self, queue: Queue) -> None:
        await self.function(queue, **self.arguments)


class Guard(NamedTuple):
    """One row.

    Attributes:
        script: Where it is taken out: a script, which may have it from the prelude.
        name: What it looks at.
        kind: One of ``KINDS``.
        source: Its text; it stands once in the script with its prelude.
        without: The text that replaces it.
        wrong: What goes wrong without it.
        missed_by: The test that fails then.
        file: Where it is written: the script, or a file of the prelude.
    """

    script: str
    name: str
    kind: str
    source: str
    without: str
    wrong: str
    missed_by: Check
    file: str

    @property
    def id(self) -> str:
        return f"{self.script}-{self.name}".replace(" ", "_")


def guards(script: str, *rows: tuple[str, str, str, str, str, Check]) -> list[Guard]:
    """Rows of one script."""
    return [Guard(script, *row, file=script) for row in rows]


def of_prelude(part: str, script: str, *rows: tuple[str, str, str, str, str, Check]) -> list[Guard]:
    """Rows of a file of the prelude, taken out of one script that needs them."""
    return [Guard(script, *row, file=f"prelude/{part}") for row in rows]


def by(function: Callable[..., Awaitable[None]], **arguments: Any) -> Check:
    return Check(function, arguments)


def edge(name: str, source: str, target: str) -> Check:
    """The test that goes over this edge of the state machine."""
    (act,) = (act for edge, *states, act in test_transitions.EDGES if (edge, *states) == (name, source, target))
    return by(test_transitions.test_edge, name=name, source=source, target=target, act=act)


def outside(name: str, state: str) -> Check:
    """The test that the transition moves no job from this state, which is not in its row."""
    wanted = [(edge, found) for edge, found in test_transitions.OUTSIDE if (edge, found) == (name, state)]
    ((_, found),) = wanted
    return by(test_transitions.test_no_transition_moves_a_job_from_a_state_outside_its_row, name=name, state=found)


def text_of(file: str) -> str:
    return (LUA / f"{file}.lua").read_text("utf-8")


def take_out(monkeypatch: pytest.MonkeyPatch, guard: Guard) -> None:
    """From now on the store calls the script without the guard; all other scripts are as they are."""
    real = scripts.script(guard.script)
    assert real.text.count(guard.source) == 1, "the guard's text must stand in the script, and once"
    text = real.text.replace(guard.source, guard.without)
    mutant = Script(guard.script, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
    original = scripts.script

    def script(name: str) -> Script:
        return mutant if name == guard.script else original(name)

    for name, module in list(sys.modules.items()):
        if name.startswith("taskserver.store") and getattr(module, "script", None) is original:
            monkeypatch.setattr(module, "script", script)
