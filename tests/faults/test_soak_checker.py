"""The check of a soak finds what it is there to find: each test tells a ledger of a broken promise."""

from pathlib import Path
from typing import Any

import pytest

from tests.faults.soak import ledger
from tests.faults.soak.check import Breach, Stored, check, repeated_runs
from tests.faults.soak.plan import BROKER_FAULTS, plan
from tests.faults.soak.records import Record, read_ledger
from tests.faults.soak.takeovers import NO_OTHER_WORKER, late_by_cause, takeovers

JOB = "default-k00000000000000000000001"
ACK = {"at": 1.0, "what": "ack", "job": JOB, "token": "p-1", "kind": "quick", "may": []}
BEGIN = {"at": 2.0, "what": "begin", "job": JOB, "run": "9.0", "kind": "quick", "attempt": 1, "fence": 10, "pid": 9}
END = {"at": 2.5, "what": "end", "job": JOB, "run": "9.0", "how": "returned"}
GOOD = Stored("succeeded: 9.0", "succeeded 2600 10 aa", "p-1", {}, [])
CUT = {"at": 3.0, "what": "cut", "kept_until": 0.5}


def record(*lines: dict[str, Any]) -> Record:
    return read_ledger(lines)


def breaches(stored: dict[str, Stored], *lines: dict[str, Any]) -> list[Breach]:
    return check(record(*lines), stored).breaches


def only_breach(stored: dict[str, Stored], *lines: dict[str, Any]) -> tuple[str, str]:
    ((rule, _, what),) = breaches(stored, *lines)
    return rule, what


def test_a_job_that_was_acknowledged_run_and_ended_breaks_nothing() -> None:
    seen = {"at": 2.7, "what": "seen", "job": JOB, "end": GOOD.stamp}
    result = {"at": 2.8, "what": "result", "job": JOB, "end": GOOD.end}
    assert breaches({JOB: GOOD}, ACK, BEGIN, END, seen, result) == []


def test_a_lost_job_is_found() -> None:
    assert only_breach({}, ACK) == ("I1", "was acknowledged and is lost")


def test_a_job_that_nobody_acknowledged_may_be_missing() -> None:
    assert breaches({}, BEGIN) == []


def test_a_job_that_has_not_ended_is_found() -> None:
    assert only_breach({JOB: GOOD._replace(end="running", stamp="running")}, ACK)[0] == "I4"


def test_an_end_that_changed_is_found() -> None:
    seen = {"at": 2.7, "what": "seen", "job": JOB, "end": "dead 2550 10 aa"}
    rule, what = only_breach({JOB: GOOD}, ACK, BEGIN, END, seen)
    assert rule == "I2"
    assert "had ended as 'dead" in what


def test_an_ended_job_that_lives_again_is_found() -> None:
    seen = [{"at": at, "what": "seen", "job": JOB, "end": end} for at, end in ((2.6, GOOD.stamp), (2.7, "queued"))]
    assert only_breach({JOB: GOOD}, ACK, BEGIN, END, *seen)[0] == "I2"


def test_a_client_that_saw_another_end_is_found() -> None:
    result = {"at": 2.8, "what": "result", "job": JOB, "end": "cancelled"}
    assert only_breach({JOB: GOOD}, ACK, BEGIN, END, result)[0] == "I2"


def test_a_stale_result_is_found() -> None:
    again = {**BEGIN, "at": 2.2, "run": "8.0", "fence": 12, "pid": 8}
    found = breaches({JOB: GOOD._replace(stamp="succeeded 2600 12 aa")}, ACK, BEGIN, END, again)
    assert [(breach.rule, "fence 10, not 12" in breach.what) for breach in found] == [("I3", True)]


def test_a_run_after_the_end_is_found() -> None:
    again = {**BEGIN, "at": 9.0, "run": "8.0", "fence": 12, "pid": 8}
    assert only_breach({JOB: GOOD}, ACK, BEGIN, END, again) == ("I3", "ended with fence 10, but run 8.0 has 12")


def test_two_runs_with_one_fence_are_found() -> None:
    again = {**BEGIN, "run": "8.0", "pid": 8}
    assert only_breach({JOB: GOOD}, ACK, BEGIN, END, again)[0] == "I3"


def test_a_result_of_no_run_is_found() -> None:
    assert only_breach({JOB: GOOD._replace(end="succeeded: 7.7")}, ACK, BEGIN, END)[0] == "I3"


@pytest.mark.parametrize("end", ["cancelled", "expired", "failed: MessageLost: the message of this job is gone"])
def test_an_end_that_nobody_asked_for_is_found(end: str) -> None:
    assert only_breach({JOB: GOOD._replace(end=end)}, ACK, BEGIN, END)[0] == "I1"


def test_one_submit_that_made_two_jobs_is_found() -> None:
    other = JOB[:-1] + "2"
    assert only_breach({JOB: GOOD, other: GOOD._replace(end="cancelled")}, ACK, BEGIN, END)[0] == "I2"


@pytest.mark.parametrize(
    "pieces",
    [
        ["10 0", "10 1", "10 1", "10 2", "10 3", "10 4"],
        ["10 0", "10 1", "10 3", "10 4"],
        ["10 0", "10 1", "8 0", "10 2", "10 3", "10 4"],
        ["10 0", "10 1", "10 2"],
    ],
    ids=["twice", "one is missing", "a late word of an older run", "the end is missing"],
)
def test_output_that_is_not_that_of_the_runs_in_order_is_found(pieces: list[str]) -> None:
    lines = [{**line, "kind": "talk"} for line in (ACK, BEGIN)]
    assert only_breach({JOB: GOOD._replace(pieces=pieces)}, *lines, END)[0] == "I3"


def test_what_the_broker_may_lose_in_a_power_cut_is_counted_and_no_more() -> None:
    verdict = check(record(ACK, CUT), {})
    assert (verdict.breaches, verdict.lost) == ([], 1)
    early = {**CUT, "kept_until": 2.0}  # the submit was acknowledged before that
    assert only_breach({}, ACK, early)[0] == "I1"


def test_an_end_that_the_broker_forgot_is_counted() -> None:
    seen = [
        {"at": at, "what": "seen", "job": JOB, "end": end}
        for at, end in ((2.7, "succeeded 2600 10 aa"), (4.0, "queued"))
    ]
    again = {**BEGIN, "at": 5.0, "run": "8.0", "fence": 20, "pid": 8}
    ended = Stored("succeeded: 8.0", "succeeded 5100 20 bb", "p-1", {}, [])
    verdict = check(record(ACK, BEGIN, END, CUT, *seen, again), {JOB: ended})
    assert (verdict.breaches, verdict.undone) == ([], 1)


def test_runs_are_counted_by_why_there_was_another() -> None:
    found = record(ACK, BEGIN, {**BEGIN, "run": "8.0", "fence": 12}, {**BEGIN, "run": "8.1", "fence": 14})
    assert repeated_runs(found, {JOB: GOOD._replace(history={"lost": 1})}) == {
        "retry": 0,
        "released": 0,
        "lost": 1,
        "unknown": 1,
    }


KILL = {"at": 3.0, "what": "fault", "name": "kill worker", "pid": 9}
KILLED = [{"at": 0.1, "what": "ready", "name": "worker", "pid": 9, "lease": 1.5}, ACK, BEGIN, KILL]
AGAIN = {**BEGIN, "at": 6.6, "run": "8.0", "fence": 12, "pid": 8}
OTHER = {"at": 0.2, "what": "ready", "name": "worker", "pid": 8, "lease": 6.0}


def fault(name: str, begun: float, over: float, pid: int | None = None) -> list[dict[str, Any]]:
    return [{"at": begun, "what": "fault", "name": name, "pid": pid}, {"at": over, "what": "over", "name": name}]


@pytest.mark.parametrize(
    ("meanwhile", "why"),
    [
        ([], []),
        (fault("delete streams", 4.0, 4.0), ["delete streams"]),
        (fault("flush scripts", 4.0, 4.0), []),
        (fault("freeze broker", 1.0, 2.5), ["freeze broker"]),
        (fault("freeze broker", -3.0, -1.5), []),
        (fault("freeze worker", 2.0, 3.5, pid=8), [NO_OTHER_WORKER]),
        (fault("freeze worker", 1.0, 2.5, pid=8), []),
        (fault("terminate worker", 4.0, 4.0, pid=8), [NO_OTHER_WORKER]),
        ([{"at": 4.0, "what": "died", "name": "worker", "pid": 8, "code": -6}], [NO_OTHER_WORKER]),
        ([{**BEGIN, "at": 2.5, "job": "b", "run": "8.1", "kind": "block", "pid": 8}], [NO_OTHER_WORKER]),
        ([{**OTHER, "at": 3.2}], [NO_OTHER_WORKER]),
    ],
)
def test_a_takeover_is_told_with_what_was_in_the_way(meanwhile: list[dict[str, Any]], why: list[str]) -> None:
    over = {"at": 3.0, "what": "over", "name": "kill worker"}
    lines = sorted([*KILLED, over, OTHER, *meanwhile, AGAIN], key=lambda line: line["at"])
    stored = {JOB: GOOD._replace(lost=[4.5])}
    (found,) = takeovers(record(*lines), stored, lease=99.0)
    assert (round(found.leases, 2), found.taken_back, list(found.disturbances)) == (2.4, 4.5, why)
    assert late_by_cause([found]) == (dict.fromkeys(why, 1) or {"nothing known": 1})


def test_the_seed_decides_the_plan() -> None:
    assert plan("7", 60) == plan("7", 60) != plan("8", 60)
    assert {step.name for step in plan("7", 600)["broker"]} == set(BROKER_FAULTS)


def test_half_a_line_of_a_killed_process_hides_no_line_of_another(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_text('{"at":1.5,"what":"be{"at":2.5,"what":"end"}\n{"at":3.5,"what":"begin"}\n{"at":4.5,"wh')
    assert [line["at"] for line in ledger.read(path)] == [2.5, 3.5]
