"""The ledger, job by job: what was promised of each job, what it did, and what was seen of it."""

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


class Output(NamedTuple):
    """A client followed a job's output to its end."""

    at: float
    texts: list[str]


@dataclass(slots=True)
class JobRecord:
    """What the ledger says of one job."""

    token: str = ""
    kind: str = ""
    acknowledged: float | None = None
    unknown: int = 0
    cancelled: bool = False
    may_expire: bool = False
    runs: dict[str, Run] = field(default_factory=dict)
    results: list[Seen] = field(default_factory=list)
    stamps: list[Seen] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)


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


class Ready(NamedTuple):
    """A worker takes jobs from a moment on, with its own lease, in seconds."""

    at: float
    lease: float


@dataclass
class Record:
    """The whole ledger."""

    jobs: dict[str, JobRecord] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    deaths: list[Line] = field(default_factory=list)
    ready: dict[int, Ready] = field(default_factory=dict)
    """Workers, by their pids."""
    unknown: int = 0
    """Submits that raised."""

    def excused(self, reported: float, gone: float) -> bool:
        """Whether what was reported at a moment may be gone at another: a cut lies between that did not keep it."""
        return any(cut.kept_until <= reported <= cut.at + LATE_SECONDS and cut.at <= gone for cut in self.cuts)


def read_ledger(lines: Iterable[Line]) -> Record:
    """Read a ledger from its first line to its last."""
    reader = _Reader()
    for line in lines:
        getattr(reader, line["what"], reader.nothing)(line)
    reader.record.faults += [fault._replace(over=float("inf")) for faults in reader.open.values() for fault in faults]
    return reader.record


class _Reader:
    """One method for each sort of line."""

    def __init__(self) -> None:
        self.record = Record()
        self.open: dict[str, list[Fault]] = {}

    def _job(self, line: Line) -> JobRecord:
        return self.record.jobs.setdefault(line["job"], JobRecord())

    def ack(self, line: Line) -> None:
        job_record = self._job(line)
        if job_record.acknowledged is None:
            job_record.acknowledged = line["at"]
        job_record.token, job_record.kind = line["token"], line["kind"]
        job_record.may_expire = "expired" in line["may"]

    def unknown(self, line: Line) -> None:
        self.record.unknown += 1
        if line["job"]:
            self._job(line).unknown += 1

    def cancel(self, line: Line) -> None:
        self._job(line).cancelled = True

    def result(self, line: Line) -> None:
        self._job(line).results.append(Seen(line["at"], line["end"]))

    def heard(self, line: Line) -> None:
        self._job(line).outputs.append(Output(line["at"], line["texts"]))

    def begin(self, line: Line) -> None:
        job_record = self._job(line)
        job_record.kind = job_record.kind or line["kind"]
        job_record.runs[line["run"]] = Run(line["run"], line["at"], line["attempt"], line["fence"], line["pid"])

    def end(self, line: Line) -> None:
        runs = self._job(line).runs
        runs[line["run"]] = runs[line["run"]]._replace(ended=line["at"])

    def seen(self, line: Line) -> None:
        self._job(line).stamps.append(Seen(line["at"], line["end"]))

    def fault(self, line: Line) -> None:
        fault = Fault(line["name"], line["at"], line["at"], line.get("pid"), line.get("fsync"))
        self.open.setdefault(line["name"], []).append(fault)

    def over(self, line: Line) -> None:
        for fault in self.open.pop(line["name"], []):
            self.record.faults.append(fault._replace(over=line["at"], failed="failed" in line))

    def cut(self, line: Line) -> None:
        self.record.cuts.append(Cut(line["kept_until"], line["at"]))

    def ready(self, line: Line) -> None:
        self.record.ready[line["pid"]] = Ready(line["at"], line["lease"])

    def died(self, line: Line) -> None:
        self.record.deaths.append(line)

    def nothing(self, line: dict[str, Any]) -> None:
        """A line that says nothing of jobs."""
