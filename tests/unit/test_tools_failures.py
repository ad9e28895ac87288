"""What is stored of an exception, and whether another attempt would help."""

import asyncio
import signal
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from taskserver.domain.secrets import MASK, Redactor
from taskserver.errors import PermanentError, RaisedInProcess
from taskserver.tools.failures import MESSAGE_CHARACTERS, TRACEBACK_CHARACTERS, failure_of, is_permanent


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def circle() -> BaseException:
    error = ValueError("x")
    return caused(error, caused(KeyError("y"), error))


def deep(leaf: Exception) -> BaseException:
    for _ in range(40):
        leaf = ExceptionGroup("g", [leaf, leaf])
    return leaf


GONE, AWAY = PermanentError("no such page"), ConnectionError("api.example.org")


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ExceptionGroup("unhandled errors", [AWAY]), "ConnectionError", "api.example.org"),
        (ExceptionGroup("g", [AWAY, ExceptionGroup("h", [AWAY])]), "ConnectionError", "api.example.org"),
        (
            ExceptionGroup("g", [GONE, AWAY]),
            "ConnectionError, PermanentError",
            "ConnectionError: api.example.org; PermanentError: no such page",
        ),
        (BaseExceptionGroup("g", [SystemExit(3)]), "SystemExit", "3"),
        (ExceptionGroup("g", [ValueError(n) for n in range(10, 35)]), "ValueError", "ValueError: 10; "),
        (AWAY, "ConnectionError", "api.example.org"),
    ],
)
def test_a_group_has_the_type_and_text_of_the_errors_in_it(error: BaseException, kind: str, text: str) -> None:
    failure = failure_of(error)
    assert failure.type == kind
    assert failure.message.startswith(text)
    assert len(failure.message) < 500


def test_the_order_in_which_tasks_fail_does_not_matter() -> None:
    assert failure_of(ExceptionGroup("g", [GONE, AWAY])) == failure_of(ExceptionGroup("g", [AWAY, GONE, GONE]))


@pytest.mark.parametrize(
    ("error", "permanent"),
    [
        (ExceptionGroup("g", [GONE]), True),
        (ExceptionGroup("g", [GONE, ExceptionGroup("h", [GONE, GONE])]), True),
        (ExceptionGroup("g", [GONE, AWAY]), False),
        (caused(ValueError("x"), GONE), True),
        (caused(ValueError("x"), ExceptionGroup("g", [GONE])), True),
        (ExceptionGroup("g", [ValueError("x"), caused(KeyError("y"), GONE)]), False),
        (caused(ValueError("x"), AWAY), False),
        (circle(), False),
        (deep(GONE), True),
        (deep(AWAY), False),
    ],
)
def test_what_only_permanent_errors_caused_is_permanent(error: BaseException, permanent: bool) -> None:
    assert is_permanent(error) is permanent


SECRET = "hunter2" * 3_000


@pytest.mark.parametrize("before", [0, 1_990, MESSAGE_CHARACTERS - 10, TRACEBACK_CHARACTERS])
def test_secrets_are_masked_before_anything_is_cut(before: int) -> None:
    text = "x" * before + SECRET + "y" * 20_000
    kind = type(f"Wrong_{SECRET}", (Exception,), {})
    failures = [failure_of(error, Redactor([SECRET])) for error in (kind(text), ExceptionGroup("g", [kind(text)]))]
    for failure in failures:
        assert "hunter2" not in failure.type + failure.message + failure.traceback
        assert len(failure.message) <= MESSAGE_CHARACTERS
    assert failures[0].type.endswith(f"Wrong_{MASK}")


def test_what_was_cut_once_is_not_cut_again() -> None:
    failure = failure_of(RaisedInProcess("E" * 9_000, "m" * 9_000, "t" * 90_000))
    assert failure_of(RaisedInProcess(failure.type, failure.message, failure.traceback)) == failure


def from_another_thread() -> None:
    with closing(sqlite3.connect(":memory:")) as database, ThreadPoolExecutor(1) as pool:
        pool.submit(database.execute, "select 1").result()


def signals_in_a_thread() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(signal.signal, signal.SIGUSR2, signal.SIG_DFL).result()


def loop_in_a_loop() -> None:
    async def inner() -> None:
        coroutine = asyncio.sleep(0)
        try:
            asyncio.run(coroutine)
        finally:
            coroutine.close()

    asyncio.run(inner())


def patched_loop() -> None:
    raise ValueError("Can't patch loop of type <class 'uvloop.Loop'>")


def loop_that_runs() -> None:
    async def inner() -> None:
        asyncio.get_running_loop().run_forever()

    asyncio.run(inner())


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (patched_loop, "--loop asyncio"),
        (loop_that_runs, "--loop asyncio"),
        (from_another_thread, "connect inside run, or use runs_in='process'"),
        (signals_in_a_thread, "use runs_in='process'"),
        (asyncio.get_running_loop, "make the function, or the method run, async"),
        (loop_in_a_loop, "await the coroutine"),
    ],
)
def test_errors_of_where_a_tool_runs_say_what_to_do(call: Callable[[], object], hint: str) -> None:
    with pytest.raises(Exception) as caught:
        call()
    assert failure_of(caught.value).message.endswith(hint)
