"""The ledger retold: what was promised of each job, what it did, and what was seen of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.faults.soak.ledger import Line

LATE_SECONDS = 1.0
"""How much later than the broker's answer a busy process may write its line."""


class Run(NamedTuple):
    """A tool began to run a job; ``ended`` is when it came to its end, if it did."""

    name: str
    at: float
    attempt: int
    fence: int
    pid: int
    ended: float | None = None


class Seen(NamedTuple):
    """Somebody saw an end of a job."""

    at: float
    end: str


class Heard(NamedTuple):
    """A client followed a job's output to its end."""

    at: float
    texts: list[str]


@dataclass(slots=True)
class Story:
    """What the ledger tells of one job."""

    token: str = ""
    kind: str = ""
    acknowledged: float | None = None
    unknown: int = 0
    cancelled: bool = False
    may_expire: bool = False
    runs: dict[str, Run] = field(default_factory=dict)
    results: list[Seen] = field(default_factory=list)
    stamps: list[Seen] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)


class Cut(NamedTuple):
    """The broker went down at a moment and may have lost what it took since another."""

    kept_until: float
    at: float


class Fault(NamedTuple):
    """A fault from its begin to its end."""

    name: str
    begun: float
    over: float
    pid: int | None
    fsync: str | None
    failed: bool = False


@dataclass
class Tale:
    """The whole ledger."""

    stories: dict[str, Story] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    deaths: list[Line] = field(default_factory=list)
    unknown: int = 0
    """Submits that raised."""

    def excused(self, told: float, gone: float) -> bool:
        """Whether what was told at a moment may be gone at another: a cut lies between that did not keep it."""
        return any(cut.kept_until <= told <= cut.at + LATE_SECONDS and cut.at <= gone for cut in self.cuts)


def retell(lines: Iterable[Line]) -> Tale:
    """Read a ledger from its first line to its last."""
    teller = _Teller()
    for line in lines:
        getattr(teller, line["what"], teller.nothing)(line)
    teller.tale.faults += [fault._replace(over=float("inf")) for faults in teller.open.values() for fault in faults]
    return teller.tale


class _Teller:
    """One method for each sort of line."""

    def __init__(self) -> None:
        self.tale = Tale()
        self.open: dict[str, list[Fault]] = {}

    def _story(self, line: Line) -> Story:
        return self.tale.stories.setdefault(line["job"], Story())

    def ack(self, line: Line) -> None:
        story = self._story(line)
        if story.acknowledged is None:
            story.acknowledged = line["at"]
        story.token, story.kind = line["token"], line["kind"]
        story.may_expire = "expired" in line["may"]

    def unknown(self, line: Line) -> None:
        self.tale.unknown += 1
        if line["job"]:
            self._story(line).unknown += 1

    def cancel(self, line: Line) -> None:
        self._story(line).cancelled = True

    def result(self, line: Line) -> None:
        self._story(line).results.append(Seen(line["at"], line["end"]))

    def heard(self, line: Line) -> None:
        self._story(line).heard.append(Heard(line["at"], line["texts"]))

    def begin(self, line: Line) -> None:
        story = self._story(line)
        story.kind = story.kind or line["kind"]
        story.runs[line["run"]] = Run(line["run"], line["at"], line["attempt"], line["fence"], line["pid"])

    def end(self, line: Line) -> None:
        runs = self._story(line).runs
        runs[line["run"]] = runs[line["run"]]._replace(ended=line["at"])

    def seen(self, line: Line) -> None:
        self._story(line).stamps.append(Seen(line["at"], line["end"]))

    def fault(self, line: Line) -> None:
        fault = Fault(line["name"], line["at"], line["at"], line.get("pid"), line.get("fsync"))
        self.open.setdefault(line["name"], []).append(fault)

    def over(self, line: Line) -> None:
        for fault in self.open.pop(line["name"], []):
            self.tale.faults.append(fault._replace(over=line["at"], failed="failed" in line))

    def cut(self, line: Line) -> None:
        self.tale.cuts.append(Cut(line["kept_until"], line["at"]))

    def died(self, line: Line) -> None:
        self.tale.deaths.append(line)

    def nothing(self, line: dict[str, Any]) -> None:
        """A line that tells nothing of jobs."""
