"""The demo: as a process from beginning to end, and its checks with the failures that they must catch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis

from taskserver import Event, EventKind, JobStatus, State
from taskserver.demo import checks
from taskserver.demo.checks import CheckFailed
from taskserver.demo.files import MAX_FILES, text_files
from taskserver.demo.steps import STEPS
from taskserver.domain.job import AttemptRecord, Failure
from taskserver.errors import ConfigError
from tests.patience import PATIENCE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small folder to work on, with files that must be skipped or shown with care."""
    folder = tmp_path / "files"
    (folder / "deep").mkdir(parents=True)
    for number in range(5):
        (folder / f"note {number}.txt").write_text(f"broker {number} keeps jobs\n" * (number + 1))
    (folder / "deep" / "\x1b[31m[bold]sources.md").write_text("# Ünïcode\r\nworker worker\r\n")
    (folder / "picture.png").write_bytes(b"\x89PNG\0\xff")
    (folder / ".hidden").write_text("secret")
    (folder / "empty.txt").touch()
    return folder


@contextmanager
def running_demo(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The demo as a process whose temporary files go beside ``folder``."""
    temporary = folder.parent / "t"
    temporary.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TASKSERVER_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "taskserver", "demo", str(folder), *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        env={**environment, "TMPDIR": str(temporary), "PYTHONIOENCODING": "utf-8", "COLUMNS": "80"},
        cwd=folder.parent,
        process_group=0,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def processes_in(folder: Path) -> list[psutil.Process]:
    """Every process that runs in ``folder`` or has it in its command: workers, keeper, server."""
    return [process for process in psutil.process_iter() if _runs_in(process, str(folder))]


def _runs_in(process: psutil.Process, folder: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.cwd().startswith(folder) or any(folder in word for word in process.cmdline())
    except psutil.Error:
        return False


def assert_nothing_is_left(folder: Path) -> None:
    temporary = folder.parent / "t"
    assert processes_in(temporary) == []
    assert list(temporary.iterdir()) == []
    assert sorted(each.name for each in folder.parent.iterdir()) == ["files", "t"]


def test_every_step_succeeds_and_nothing_is_left(folder: Path) -> None:
    with running_demo(folder) as process:
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    rows = [line for line in output.splitlines() if " ✓ " in line and not line.startswith("    ")]
    assert [any(row.startswith(f" {step.title} ") for row in rows) for step in STEPS] == [True] * len(STEPS), output
    assert len(rows) == len(STEPS) + 1
    assert "6 text files" in output
    assert "\x1b" not in output
    assert not any(line.endswith(" ") for line in output.splitlines())
    assert_nothing_is_left(folder)


def test_on_a_named_broker_it_leaves_no_key(folder: Path, one_broker_url: str) -> None:
    with running_demo(folder, "--broker", one_broker_url) as process:
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    with redis.Redis.from_url(one_broker_url) as client:
        # Whose the keys are, and when unused queues were looked for last, is nobody's own.
        assert {*client.keys("*")} <= {b"ts:schema", b"ts:forgetter"}
    assert_nothing_is_left(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", ["workers", "Follow a long job", "and is killed"])
def test_an_interrupted_demo_cleans_up(folder: Path, number: signal.Signals, after: str) -> None:
    with running_demo(folder) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if after in line:
                break
        process.send_signal(number)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number, output
    assert "Nothing is left behind" in output
    assert_nothing_is_left(folder)


def test_a_failure_is_reported_and_shows_in_the_exit_code(folder: Path) -> None:
    with running_demo(folder) as process:
        assert process.stdout is not None
        pids = next(line for line in process.stdout if "workers" in line and "processes" in line)
        for pid in [int(word.rstrip(",")) for word in pids.split() if word.rstrip(",").isdigit()][:2]:
            psutil.Process(pid).kill()
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, output
    assert "failed: Start workers: worker" in output
    assert "exited with code -9" in output
    assert "last lines of worker" in output
    assert_nothing_is_left(folder)


def test_a_folder_without_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(b"\0\1\2")
    with pytest.raises(ConfigError, match="no text files"):
        text_files(tmp_path)


def test_a_large_folder_is_cut_short(tmp_path: Path) -> None:
    for number in range(MAX_FILES + 5):
        (tmp_path / f"{number:04}.txt").write_text("x")
    assert len(text_files(tmp_path)) == MAX_FILES


def status(state: State = State.SUCCEEDED, **fields: object) -> JobStatus:
    return JobStatus(id="demo-key", queue="demo", state=state, **fields)  # type: ignore[arg-type]


def record(
    attempt: int, event: str = "retry", error: str | None = "ConnectionError", worker: str = "a"
) -> AttemptRecord:
    return AttemptRecord(attempt, 0, worker, event, Failure(error, "no") if error else None)


def output(text: str) -> Event:
    return Event(cursor=f"1-{text}", kind=EventKind.OUTPUT, attempt=1, text=text, progress=None, at=0)


def progress(fraction: float) -> Event:
    return Event(cursor=f"2-{fraction}", kind=EventKind.PROGRESS, attempt=1, text="", progress=fraction, at=0)


TWICE = [record(1), record(2)]
LOST = [record(1, "lost", None)]
DEAD = {"attempt": 2, "history": TWICE, "error": Failure("ConnectionError", "no")}
EVENTS = [output("a"), progress(0.5), output("b"), progress(1.0)]


@pytest.mark.parametrize(
    "check",
    [
        lambda: checks.same("size", {"a": 1}, {"a": 1}),
        lambda: checks.all_succeeded([status()]),
        lambda: checks.retried(status(attempt=3, history=TWICE), 2, "ConnectionError"),
        lambda: checks.died(status(State.DEAD, **DEAD), 2, "ConnectionError", ["key"]),
        lambda: checks.streamed(EVENTS, ["a", "b"], State.RUNNING),
        lambda: checks.resumed(EVENTS, "2-0.5", EVENTS[2:]),
        lambda: checks.taken_over(status(attempt=2, history=LOST, worker="b"), "a", 3.9, 2.0),
        lambda: checks.one_job(["x", "x"], status(attempt=1)),
        lambda: checks.cancelled(status(State.CANCELLED), 0.4, 0.5),
    ],
)
def test_checks_pass_if_the_claim_holds(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: checks.same("size", {"a": 1}, {"a": 2}), "size of a: expected 2, got 1"),
        (lambda: checks.same("size", {}, {"a": 2}), "size of a"),
        (lambda: checks.same("size", {"b": 2}, {}), "size of b"),
        (
            lambda: checks.all_succeeded([status(), status(State.FAILED, error=Failure("E", "why"))]),
            r"failed \(E: why\)",
        ),
        (lambda: checks.retried(status(attempt=1), 2, "ConnectionError"), "the errors \\[\\]"),
        (lambda: checks.retried(status(attempt=2, history=TWICE), 2, "ConnectionError"), "attempt 2, not 3"),
        (lambda: checks.retried(status(attempt=3, history=TWICE), 2, "ValueError"), "2 times ValueError"),
        (lambda: checks.retried(status(State.DEAD), 2, "ConnectionError"), "is dead, not succeeded"),
        (lambda: checks.died(status(State.FAILED, **DEAD), 2, "ConnectionError", ["key"]), "not dead"),
        (lambda: checks.died(status(State.DEAD, **DEAD), 3, "ConnectionError", ["key"]), "attempt 2, not 3"),
        (lambda: checks.died(status(State.DEAD, **DEAD), 2, "ConnectionError", []), "not among the dead letters"),
        (lambda: checks.died(status(State.DEAD, **{**DEAD, "error": None}), 2, "ConnectionError", ["key"]), "without"),
        (
            lambda: checks.streamed(EVENTS, ["a", "b"], State.SUCCEEDED),
            "was succeeded, not running",
        ),
        (lambda: checks.streamed(EVENTS, ["b", "a"], State.RUNNING), "not the 2 expected pieces"),
        (lambda: checks.streamed(EVENTS[:-1], ["a", "b"], State.RUNNING), "did not rise to 1"),
        (lambda: checks.streamed([progress(1.0), progress(0.5), progress(1.0)], [], State.RUNNING), "did not rise"),
        (lambda: checks.resumed(EVENTS, "2-0.5", EVENTS[1:]), "3 events instead of 2"),
        (
            lambda: checks.taken_over(status(attempt=2, history=LOST, worker="b"), "a", 4.1, 2.0),
            "more than two leases",
        ),
        (lambda: checks.taken_over(status(attempt=1, worker="b"), "a", 1, 2.0), "attempt 1, not 2"),
        (lambda: checks.taken_over(status(attempt=2, worker="b"), "a", 1, 2.0), "does not say that worker a was lost"),
        (lambda: checks.taken_over(status(attempt=2, history=LOST, worker="a"), "a", 1, 2.0), "that was killed"),
        (lambda: checks.one_job(["x", "y"], status(attempt=1)), "created 2 jobs"),
        (lambda: checks.one_job(["x", "x"], status(attempt=2)), "attempt 2, not 1"),
        (lambda: checks.cancelled(status(), 0.1, 0.5), "is succeeded, not cancelled"),
        (lambda: checks.cancelled(status(State.CANCELLED), 0.6, 0.5), "not within 0.5 s"),
    ],
)
def test_checks_name_what_is_wrong(check: Callable[[], None], message: str) -> None:
    with pytest.raises(CheckFailed, match=message):
        check()
