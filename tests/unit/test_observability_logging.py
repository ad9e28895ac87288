"""Logs: one line a record, for people or for machines, with the attempt that logs, whatever is in it."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from taskserver.domain.secrets import Redactor
from taskserver.observability.jsonlines import JsonFormatter
from taskserver.observability.logging import LineFormatter, configure
from taskserver.observability.redaction import log_context
from tests.logs import restored_logging

ABOUT = {"job_id": "q-1", "attempt": 2, "tool": "add", "queue": "q", "worker": "w"}


class LogContext:
    def attempt_fields(self) -> dict[str, Any]:
        return dict(ABOUT)

    def redact(self) -> Callable[[str], str]:
        return Redactor(["hunter22"])


@pytest.fixture
def spoken() -> Iterator[None]:
    token = log_context.set(LogContext())
    yield
    log_context.reset(token)


def record(message: Any, *args: Any, error: BaseException | None = None, **extra: Any) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.getLogger("mine").makeRecord("mine", logging.INFO, "f", 1, message, args, info, extra=extra)


def as_json(each: logging.LogRecord) -> dict[str, Any]:
    line = JsonFormatter().format(each)
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.mark.usefixtures("spoken")
def test_what_an_attempt_logs_contains_its_fields() -> None:
    assert (
        LineFormatter()
        .format(record("%d rows", 3))
        .endswith("info     3 rows [job=q-1 attempt=2 tool=add queue=q worker=w]")
    )
    assert {name: as_json(record("x"))[name] for name in ABOUT} == ABOUT


@pytest.mark.usefixtures("spoken")
def test_a_thread_with_the_attempts_context_does_too() -> None:
    lines: list[dict[str, Any]] = []
    thread = threading.Thread(target=copy_context().run, args=(lambda: lines.append(as_json(record("x"))),))
    thread.start()
    thread.join()
    assert lines[0]["job_id"] == "q-1"


def test_other_records_contain_no_attempt() -> None:
    assert set(as_json(record("x"))) == {"time", "level", "logger", "message"}
    assert LineFormatter().format(record("x")).endswith(" x")


def test_json_has_the_time_in_utc_and_the_error_as_one_string() -> None:
    try:
        raise ValueError("no\nway")
    except ValueError as error:
        found = as_json(record("x", error=error))
    assert found["time"][10] == "T"
    assert found["time"].endswith("Z")
    assert found["exception"].endswith("ValueError: no\nway")


@pytest.mark.usefixtures("spoken")
def test_secrets_are_masked_in_logs() -> None:
    line = JsonFormatter().format(record("it is hunter22", other="hunter22", password="abc", deep={"token": "xyz"}))
    assert not {"hunter22", "abc", "xyz"} & set(line.replace('"', " ").split())


class Nasty:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


ITSELF: list[Any] = []
ITSELF.append(ITSELF)


@pytest.mark.parametrize(
    "value",
    [Nasty(), ITSELF, float("nan"), 1 << 200, "\ud800", b"\xff", {Nasty(): 1}, "x" * 10**6, [[1] * 10**4] * 99,
     {str(n) * 999: [None] * 99 for n in range(99)}],
)  # fmt: skip
def test_whatever_is_logged_gives_a_bounded_line(value: Any) -> None:
    for fields in ({"extra_field": value}, {f"field{n}": value for n in range(5_000)}, {"job_id": value}):
        assert len(JsonFormatter().format(record("x", **fields))) < 70_000
    assert as_json(record(value, value))
    assert LineFormatter().format(record("%d", value))


def test_the_items_of_nested_fields_are_bounded_together() -> None:
    deep: Any = ["x" * 5_000] * 60
    for _ in range(3):
        deep = [deep] * 60
    assert len(JsonFormatter().format(record("x", deep=deep))) < 70_000


def test_configuring_again_replaces_only_our_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = logging.NullHandler()
    out = io.StringIO()
    with restored_logging() as root:
        root.addHandler(theirs)
        configure("info", stream=sys.stderr)
        configure("info", "json", out)
        logging.getLogger("mine").info("once")
        assert theirs in root.handlers
    assert [json.loads(line)["message"] for line in out.getvalue().splitlines()] == ["once"]


def test_other_handlers_of_the_root_logger_get_our_records_too_but_no_second_console(tmp_path: Path) -> None:
    out, console = io.StringIO(), logging.StreamHandler(sys.__stderr__)
    with restored_logging() as root, closing(logging.FileHandler(tmp_path / "theirs.log")) as file:
        configure("info", "json", out)
        root.addHandler(console)
        root.addHandler(file)
        ours = logging.getLogger("taskserver.worker")
        ours.warning("once")
        ours.debug("not at this level")
        assert console not in ours.handlers
    assert [json.loads(line)["message"] for line in out.getvalue().splitlines()] == ["once"]
    assert (tmp_path / "theirs.log").read_text() == "once\n"
