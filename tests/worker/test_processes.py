"""Tools in processes of their own: what they give back, and what their deaths mean to others."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest

from taskserver import Client, Job, JobCancelled, JobFailed, State, Toolbox
from taskserver.errors import ToolInvalid
from taskserver.tools import tool, tool_of
from taskserver.tools.processes import pool
from taskserver.tools.processes.process import ToolProcess
from taskserver.tools.runner import runner_of
from tests.conftest import Eventually
from tests.patience import PATIENCE
from tests.worker.conftest import Hire
from tests.worker.programs import heavy

CRASHES = {
    "segfault": ("ToolCrashed", "was killed by SIGSEGV"),
    "exit": ("SystemExit", "3"),
    "hard exit": ("ToolCrashed", "ended with exit code 3"),
    "kill": ("ToolCrashed", "was killed by SIGKILL"),
    "nonsense": ("ToolCrashed", "sent an invalid message"),
}


async def written(path: Path) -> list[psutil.Process]:
    """The processes whose ids a tool writes down."""
    while not path.exists():
        await asyncio.sleep(0.01)
    return [psutil.Process(int(pid)) for pid in path.read_text().split()]


def dead(processes: list[psutil.Process]) -> bool:
    return not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes)


async def gone(processes: list[psutil.Process]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not dead(processes):
            await asyncio.sleep(0.01)


async def test_arguments_and_results_have_their_types(client: Client, hire: Hire) -> None:
    await hire(heavy.measure)
    job = await client.submit(heavy.measure, {"box": heavy.Box(21, {"red"})})
    assert await job.result(timeout=PATIENCE) == heavy.Box(42, {"red", "measured"})


async def test_processes_stay_warm_and_a_class_is_made_once_in_each(client: Client, hire: Hire) -> None:
    it = await hire(heavy.Counter, heavy.who, heavy.light)
    assert it.worker.tool_processes == 0
    assert await (await client.submit(heavy.light)).result(timeout=PATIENCE) == "light"
    assert it.worker.tool_processes == 0  # they start when the first job needs one
    results = [await (await client.submit("Counter")).result(timeout=PATIENCE) for _ in range(3)]
    assert [calls for _, calls in results] == [1, 2, 3]
    pid = await (await client.submit(heavy.who)).result(timeout=PATIENCE)
    assert {pid} == {each for each, _ in results} != {os.getpid()}
    await it.stop()
    await gone([psutil.Process(pid)] if psutil.pid_exists(pid) else [])
    assert it.worker.tool_processes == 0


async def test_async_tools_run_there_too_and_the_context_knows_its_job(client: Client, hire: Hire) -> None:
    await hire(heavy.sleeper, heavy.about)
    assert await (await client.submit(heavy.sleeper, {"seconds": 0.01})).result(timeout=PATIENCE) >= 1
    job = await client.submit(heavy.about, session_id="s-1", tags=["a"], idempotency_key="key", max_retries=1)
    seen = await job.result(timeout=PATIENCE)
    assert seen == {
        "job_id": job.id, "queue": "default", "attempt": 1, "max_attempts": 2, "idempotency_key": "key",
        "session_id": "s-1", "tags": ["a"], "cancelled": False,
    }  # fmt: skip


@pytest.mark.parametrize(("refuses", "fails"), [(False, False), (False, True), (True, False), (True, True)])
async def test_tasks_that_a_job_leaves_behind_do_not_run_beside_the_next(
    client: Client, hire: Hire, refuses: bool, fails: bool
) -> None:
    it = await hire(heavy.leaves_a_task, heavy.who, concurrency=1)
    first = await (await client.submit(heavy.who)).result(timeout=PATIENCE)
    job = await client.submit(heavy.leaves_a_task, {"name": "ada", "refuses": refuses, "fails": fails})
    with pytest.raises(JobFailed) if fails else nullcontext():
        await job.result(timeout=PATIENCE)
    job = await client.submit(heavy.leaves_a_task, {"name": "bob", "refuses": False, "fails": False})
    pid, *seen = await job.result(timeout=PATIENCE)
    assert seen == ["bob"]
    assert (pid != first) is refuses  # a task that refuses to end is ended with its process
    await it.stop()
    await gone([psutil.Process(each) for each in (first, int(pid)) if psutil.pid_exists(int(each))])


async def test_progress_output_and_log_lines_pass_through_without_secrets(
    client: Client, hire: Hire, caplog: pytest.LogCaptureFixture
) -> None:
    from taskserver.observability.logging import LineFormatter

    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Lines()
    handler.setFormatter(LineFormatter())
    logging.getLogger("taskserver.tool").addHandler(handler)
    try:
        await hire(heavy.talk)
        job = await client.submit(heavy.talk, {"password": "hunter22"})
        await job.result(timeout=PATIENCE)
    finally:
        logging.getLogger("taskserver.tool").removeHandler(handler)
    assert [(event.text, event.progress) async for event in job.events()] == [("half", 0.5), ("piece", None)]
    first, second = lines
    assert "the password is [secret]" in first
    assert f"[job={job.id} attempt=1 " in first
    assert "ValueError: [secret]" in second
    assert "heavy.py" in second
    assert "hunter22" not in first + second


@pytest.mark.parametrize("how", ["log", "name", "raise"])
async def test_however_much_a_tool_says_its_process_lives_and_its_secrets_stay_whole(
    client: Client, hire: Hire, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    await hire(heavy.blurt, heavy.who, concurrency=1)
    before = await (await client.submit(heavy.who)).result(timeout=PATIENCE)
    job = await client.submit(heavy.blurt, {"password": "hunter22" * 100, "how": how})
    if how == "log":
        assert await job.result(timeout=PATIENCE) == "logged"
    else:
        with pytest.raises(JobFailed) as caught:
            await job.result(timeout=PATIENCE)
        failed = caught.value
        assert ("Wrong[secret]" if how == "name" else "ValueError") in failed.error_type
        assert "hunter22" not in failed.error_type + failed.error_message + failed.traceback
    assert "hunter22" not in "".join(f"{each.name}{each.getMessage()}{vars(each)}" for each in caplog.records)
    assert await (await client.submit(heavy.who)).result(timeout=PATIENCE) == before


async def test_a_tool_that_talks_faster_than_the_broker_listens_waits(client: Client, hire: Hire) -> None:
    await hire(heavy.chatter)
    job = await client.submit(heavy.chatter, {"pieces": 3000})
    await job.result(timeout=PATIENCE)
    assert [event.text.split()[0] async for event in job.events()][-1] == "2999"


async def spinning(
    client: Client, folder: Path, timeouts: list[float | None]
) -> tuple[Job[None], list[psutil.Process]]:
    """A job that will not end, and its processes; on a slow machine the shortest timeout may be over before it runs."""
    for timeout in timeouts:
        pids = folder / f"pids-{timeout}"
        job = await client.submit(heavy.spin, {"file": str(pids)}, timeout=timeout)
        while not pids.exists() and not (await job.status()).state.ended:
            await asyncio.sleep(0.01)
        if pids.exists():
            return job, await written(pids)
    raise AssertionError(f"it never ran within {timeouts} s")


@pytest.mark.parametrize("why", ["timeout", "cancel", "stop", "lost lease"])
async def test_what_must_end_is_killed_with_the_programs_it_started(
    client: Client, hire: Hire, tmp_path: Path, eventually: Eventually, why: str
) -> None:
    it = await hire(heavy.spin, heavy.light, grace_period=0.1, lease=0.6 if why == "lost lease" else 60)
    job, processes = await spinning(client, tmp_path, [1, 4, 16, 64] if why == "timeout" else [None])
    if why == "cancel":
        await job.cancel()
        with pytest.raises(JobCancelled):
            await job.result(timeout=PATIENCE)
    elif why == "stop":
        await it.stop()
        assert (await job.status()).state is State.QUEUED
    elif why == "lost lease":
        renew = it.worker._heartbeat._keeper.renew
        it.silence()
        await hire(heavy.light)

        async def taken_away() -> bool:
            return (await job.status()).state is not State.RUNNING

        await eventually(taken_away)
        it.worker._heartbeat._keeper.renew = renew  # type: ignore[method-assign]
    elif why == "timeout":
        with pytest.raises(JobFailed, match="took longer than its timeout of"):
            await job.result(timeout=PATIENCE)
    await gone(processes)
    await it.end()


@pytest.mark.parametrize("how", CRASHES)
async def test_a_crash_is_the_failure_of_its_own_attempt(client: Client, hire: Hire, how: str, tmp_path: Path) -> None:
    it = await hire(heavy.crash, heavy.meet, concurrency=2)
    other = await client.submit(heavy.meet, {"folder": str(tmp_path), "name": "one"})
    with pytest.raises(JobFailed) as caught:
        await (await client.submit(heavy.crash, {"how": how})).result(timeout=PATIENCE)
    error, text = CRASHES[how]
    assert caught.value.error_type == error
    assert text in caught.value.error_message
    if how == "segfault":
        assert "heavy.py" in caught.value.traceback
    (tmp_path / "two").touch()
    assert await other.result(timeout=PATIENCE) != os.getpid()
    assert it.worker.tool_processes <= 2


async def test_somebody_kills_the_process_in_the_middle_of_a_job(client: Client, hire: Hire, tmp_path: Path) -> None:
    await hire(heavy.spin, heavy.who)
    job = await client.submit(heavy.spin, {"file": str(tmp_path / "pids")})
    processes = await written(tmp_path / "pids")
    processes[0].kill()
    with pytest.raises(JobFailed, match="was killed by SIGKILL"):
        await job.result(timeout=PATIENCE)
    await gone(processes)
    assert await (await client.submit(heavy.who)).result(timeout=PATIENCE) not in {each.pid for each in processes}


@pytest.mark.parametrize("begun", [True, False])
async def test_a_process_whose_reaping_is_cancelled_is_reaped_all_the_same(
    client: Client, hire: Hire, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    reap_soon, cancelled = ToolProcess._reap_soon, []

    def cancel_first(process: ToolProcess, patience: float) -> None:
        reap_soon(process, patience)
        if process._reaping and not cancelled:
            cancelled.append(process)
            asyncio.get_running_loop().call_later(0, process._reaping.cancel) if begun else process._reaping.cancel()

    monkeypatch.setattr(ToolProcess, "_reap_soon", cancel_first)
    await hire(heavy.crash)
    with pytest.raises(JobFailed, match="was killed by SIGKILL"):
        await (await client.submit(heavy.crash, {"how": "kill"})).result(timeout=PATIENCE)
    assert cancelled


async def test_a_process_that_dies_while_it_is_idle_costs_no_attempt(client: Client, hire: Hire) -> None:
    await hire(heavy.who)
    process = psutil.Process(await (await client.submit(heavy.who)).result(timeout=PATIENCE))
    process.kill()
    await gone([process])
    job = await client.submit(heavy.who)
    assert await job.result(timeout=PATIENCE) != process.pid
    assert (await job.status()).attempt == 1


async def test_more_memory_than_it_may_hold(client: Client, hire: Hire, tmp_path: Path) -> None:
    await hire(heavy.hoard, heavy.hoard_by_little, heavy.who)
    with pytest.raises(JobFailed) as caught:
        await (await client.submit(heavy.hoard)).result(timeout=PATIENCE)
    if sys.platform == "linux":
        assert caught.value.error_type == "MemoryError"
        assert "max_memory of 150 MB" in caught.value.error_message
        assert "heavy.py" in caught.value.traceback
    with pytest.raises(JobFailed, match="more than its max_memory of 150 MB, and was killed"):
        await (await client.submit(heavy.hoard_by_little, {"file": str(tmp_path / "pages")})).result(timeout=PATIENCE)
    await (await client.submit(heavy.who)).result(timeout=PATIENCE)


async def test_a_permanent_error_is_not_retried_and_others_are(client: Client, hire: Hire, tmp_path: Path) -> None:
    await hire(heavy.hopeless, heavy.hopeless_group, heavy.unlucky, heavy.measure)
    with pytest.raises(JobFailed) as caught:
        await (await client.submit(heavy.hopeless, {"file": str(tmp_path / "tries")})).result(timeout=PATIENCE)
    assert (caught.value.error_type, caught.value.error_message) == ("PermanentError", "it is so")
    assert caught.value.traceback.splitlines()[1].strip().startswith(f'File "{heavy.__file__}"')
    assert (tmp_path / "tries").read_text() == "tried\n"
    group = await client.submit(heavy.hopeless_group)
    with pytest.raises(JobFailed) as caught:
        await group.result(timeout=PATIENCE)
    assert (caught.value.error_type, caught.value.error_message) == ("PermanentError", "it is so")
    assert (await group.status()).attempt == 1
    assert await (await client.submit(heavy.unlucky)).result(timeout=PATIENCE) == 2
    job = await client.submit("measure", {"box": "none"})
    with pytest.raises(JobFailed, match="argument 'box': expected object, got str"):
        await job.result(timeout=PATIENCE)
    assert (await job.status()).state is State.FAILED


async def test_large_arguments_and_results(client: Client, hire: Hire) -> None:
    await hire(heavy.echo, heavy.too_large)
    data = os.urandom(4 * 1024 * 1024 - 1024)
    assert await (await client.submit(heavy.echo, {"data": data})).result(timeout=PATIENCE) == data
    with pytest.raises(JobFailed, match=r"result is too large: 5,\d+,\d+ bytes, and at most 4,194,304") as caught:
        await (await client.submit(heavy.too_large)).result(timeout=PATIENCE)
    assert caught.value.error_type == "ResultInvalid"


async def test_two_jobs_run_in_two_processes_at_once(client: Client, hire: Hire, tmp_path: Path) -> None:
    it = await hire(heavy.meet, concurrency=2)
    jobs = [await client.submit(heavy.meet, {"folder": str(tmp_path), "name": name}) for name in "ab"]
    assert len({await job.result(timeout=PATIENCE) for job in jobs} | {os.getpid()}) == 3
    assert it.worker.tool_processes == 2


async def test_a_tool_that_holds_the_interpreter_lock_does_not_hold_the_event_loop(client: Client, hire: Hire) -> None:
    await hire(heavy.grip, heavy.light, concurrency=2)
    gripping = await client.submit(heavy.grip)
    async for event in gripping.events():
        assert event.text == "holding"
        break
    assert await (await client.submit(heavy.light)).result(timeout=PATIENCE) == "light"
    assert (await gripping.status()).state is State.RUNNING
    await gripping.cancel()


async def test_a_module_that_a_process_cannot_import_is_told_with_its_traceback(
    client: Client, hire: Hire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMPORTED", "")
    monkeypatch.delenv("IMPORTED")
    from tests.worker.programs import broken

    monkeypatch.setenv("IMPORTED", "yes")
    await hire(broken.weigh, heavy.who)
    with pytest.raises(JobFailed, match="failed to import") as caught:
        await (await client.submit(broken.weigh)).result(timeout=PATIENCE)
    assert "the weights are not there" in caught.value.error_message
    assert "broken.py" in caught.value.error_message
    assert await (await client.submit(heavy.who)).result(timeout=PATIENCE) > 0


async def test_idle_processes_end_after_a_while(
    client: Client, hire: Hire, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.01)
    it = await hire(heavy.who)
    process = psutil.Process(await (await client.submit(heavy.who)).result(timeout=PATIENCE))
    await gone([process])

    async def none_left() -> bool:
        return it.worker.tool_processes == 0

    await eventually(none_left)


async def test_a_process_is_replaced_after_many_jobs(
    client: Client, hire: Hire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "MOST_JOBS", 2)
    await hire(heavy.who, concurrency=1)
    pids = [await (await client.submit(heavy.who)).result(timeout=PATIENCE) for _ in range(3)]
    assert pids[0] == pids[1] != pids[2]


def test_what_a_process_could_not_find_is_refused_with_the_fix() -> None:
    @tool(runs_in="process")
    def inside() -> None: ...

    with pytest.raises(ToolInvalid, match="does not work inside a function; move the tool to the top"):
        Toolbox.of(inside)
    own = tool(runs_in="process")(type("Own", (), {"run": lambda self: None, "__module__": "__main__"}))
    with pytest.raises(ToolInvalid, match="does not work in the main program; move the tool to a module"):
        Toolbox.of(own)


async def test_outside_of_a_worker_there_are_no_processes() -> None:
    with pytest.raises(ToolInvalid, match="tool 'who' runs in a process, which only a running worker can provide"):
        await runner_of(tool_of(heavy.who)).run({}, None)  # type: ignore[arg-type]
