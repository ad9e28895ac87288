"""The journey of dead letters: counted by cause, exported, queued again, deleted; however many they are."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from taskserver import Client
from taskserver.domain.ids import job_id
from taskserver.domain.job import ClaimedJob, Failure, State
from taskserver.domain.settlement import DeferLimits, Finish
from taskserver.store.broker.connection import Broker
from taskserver.store.jobs import claim, settle
from tests.acceptance.cli import Cli, without_colours
from tests.clients import broker_of
from tests.patience import PATIENCE
from tests.store.harness import QUEUE, Queue

ERROR = "ValueError"


async def die(url: str, queue: str, letters: list[tuple[str, str]]) -> None:
    """Dead letters of (tool, error message), as a worker would have left them."""
    async with Client(url, queue=queue) as client:
        calls = [(tool, {"message": message, "a": 1}) for tool, message in letters]
        jobs = await client.submit_many(calls, tags=["red"])
        errors = {
            job.id: Failure(ERROR, message, "Traceback …") for job, (_, message) in zip(jobs, letters, strict=True)
        }
        broker = await broker_of(client)
        while claimed := (await claim.claim(broker, queue, "w", (500, 0, 0), 9)).jobs:
            ends = [_dead(job, errors[job.id]) for job in claimed]
            assert await settle.settle(broker, queue, (), ends, DeferLimits(1_000)) == []


def _dead(job: ClaimedJob, error: Failure) -> Finish:
    return Finish(job.key, job.fence, job.attempt, State.DEAD, msgspec.msgpack.encode(error), job.entry)


def many(cli: Cli, number: int, queue: str = "default") -> None:
    asyncio.run(die(cli.env["TASKSERVER_BROKER_URL"], queue, [("fail", "red")] * number))


@pytest.fixture
def letters(cli: Cli) -> None:
    """Four dead letters of two tools and two queues."""
    url = cli.env["TASKSERVER_BROKER_URL"]
    asyncio.run(die(url, "default", [("fail", "red"), ("fail", "blue"), ("add", "red")]))
    asyncio.run(die(url, "other", [("fail", "red")]))


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_export_tells_all_that_is_known_of_each_on_a_line_of_its_own(cli: Cli, letters: None) -> None:
    done = cli.ok("dead", "export")
    exported = lines(done.out)
    assert done.err == "4 dead letters exported\n"
    assert exported == [cli.ok("dead", "show", each["id"], "--json").json for each in exported]
    assert {each["queue"] for each in exported} == {"default", "other"}
    (added,) = (each for each in exported if each["tool"] == "add")
    assert (added["attempt"], added["tags"]) == (1, ["red"])
    assert added["submitted_at"] <= added["ended_at"]
    assert added["arguments"] == {"message": "red", "a": 1}
    assert added["error"] == {"type": ERROR, "message": "red", "traceback": "Traceback …"}
    assert [record["event"] for record in added["history"]] == ["dead"]


def test_export_filters(cli: Cli, letters: None) -> None:
    assert len(lines(cli.ok("dead", "export", "--queue", "other").out)) == 1
    assert len(lines(cli.ok("dead", "export", "--tool", "fail").out)) == 3
    assert len(lines(cli.ok("dead", "export", "--tool", "fail", "--error", "red").out)) == 2
    assert cli.ok("dead", "export", "--tool", "none").out == ""


def test_export_into_a_file_that_is_there_whole_or_as_it_was(cli: Cli, letters: None, tmp_path: Path) -> None:
    file = tmp_path / "letters.jsonl"
    file.write_text("what was there\n")
    assert cli.run("dead", "export", "-o", str(file), "--broker", "redis://127.0.0.1:1").code == 4
    assert file.read_text() == "what was there\n"
    assert cli.ok("dead", "export", "-o", str(file)).out == ""
    assert len(lines(file.read_text())) == 4
    assert [path.name for path in tmp_path.glob("*letters*")] == ["letters.jsonl"]
    done = cli.run("dead", "export", "-o", str(tmp_path / "none" / "letters"))
    assert (done.code, "cannot be written: No such file or directory" in done.err) == (2, True)


def test_export_of_many_comes_once_each_newest_first(cli: Cli) -> None:
    many(cli, 1_234)  # many of them died in the same millisecond
    exported = lines(cli.ok("dead", "export").out)
    assert len(exported) == len({each["id"] for each in exported}) == 1_234
    ends = [each["ended_at"] for each in exported]
    assert ends == sorted(ends, reverse=True)


def test_export_into_a_pipe_that_nobody_reads_to_its_end(cli: Cli) -> None:
    many(cli, 1_000)
    command = f"set -o pipefail; {sys.executable} -m taskserver dead export | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command], cwd=cli.folder, env=cli.env, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr) == (141, "")
    assert len(lines(done.stdout)) == 1


def test_export_shows_its_progress_at_a_terminal_only(cli: Cli, letters: None) -> None:
    code, seen = cli.at_terminal("dead", "export", "-o", "letters.jsonl")
    assert code == 0
    assert "4 dead letters exported" in seen
    assert "4/4" in without_colours(seen)
    assert "4/4" not in cli.ok("dead", "export").err


def test_list_counts_by_tool_and_error(cli: Cli, letters: None) -> None:
    head, *rows = cli.ok("dead", "list", "--group").out.splitlines()
    assert head.split()[:3] == ["NUMBER", "TOOL", "ERROR"]
    assert [row.split()[:3] for row in rows] == [["3", "fail", ERROR], ["1", "add", ERROR]]
    causes = cli.ok("dead", "list", "--group", "--error", "red", "--json").json
    assert [(cause["tool"], cause["error"], cause["number"]) for cause in causes] == [
        ("fail", ERROR, 2),
        ("add", ERROR, 1),
    ]
    assert cli.state(causes[1]["newest"])["tool"] == "add"


def test_requeue_of_all_that_match_starts_from_attempt_zero_and_keeps_message_and_history(
    cli: Cli, letters: None
) -> None:
    assert cli.ok("dead", "requeue", "--all", "--tool", "fail", "--error", "red", "--json").json == {"requeued": 2}
    left = lines(cli.ok("dead", "export").out)
    assert {(each["tool"], each["error"]["message"]) for each in left} == {("fail", "blue"), ("add", "red")}
    (again,) = cli.ok("job", "list", "--queue", "other", "--json").json
    assert (again["state"], again["attempt"], again["error"]) == ("queued", 0, None)
    assert again["arguments"] == {"message": "red", "a": 1}
    assert [record["event"] for record in again["history"]] == ["dead", "requeue"]
    assert again["history"][0]["error"]["message"] == "red"


def test_requeue_of_more_than_a_batch(cli: Cli) -> None:
    many(cli, 1_100)
    assert cli.ok("dead", "requeue", "--all").out == "1,100 dead letters queued again\n"
    assert cli.ok("dead", "export").out == ""


def test_requeue_of_nothing_says_so(cli: Cli) -> None:
    assert cli.ok("dead", "requeue", "--all").out == "0 dead letters queued again\n"
    assert cli.run("dead", "requeue").code == 2


def test_purge_counts_first_and_deletes_what_matches(cli: Cli, letters: None) -> None:
    done = cli.run("dead", "purge", "--all", "--tool", "fail", "--error", "red")
    assert (done.code, "this would delete 2 dead letters for good" in done.err) == (2, True)
    assert len(lines(cli.ok("dead", "export").out)) == 4
    assert cli.ok("dead", "purge", "--all", "--tool", "fail", "--error", "red", "--yes", "--json").json == {"purged": 2}
    assert len(lines(cli.ok("dead", "export").out)) == 2


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.DEAD, State.CANCELLED, State.EXPIRED])
def test_job_retry_runs_a_job_again_however_it_ended(cli: Cli, state: State) -> None:
    ended_id = asyncio.run(ended(cli.env["TASKSERVER_BROKER_URL"], state))
    assert cli.state(ended_id)["state"] == state
    assert cli.ok("job", "retry", ended_id).out == f"job {ended_id} queued again\n"
    found = cli.state(ended_id)
    assert (found["state"], found["attempt"], found["error"], found["ended_at"]) == ("queued", 0, None, None)
    assert found["history"][-1]["event"] == "requeue"
    cli.worker("-q", QUEUE)
    assert cli.ok("job", "result", ended_id).out == "2\n"


async def ended(url: str, state: State) -> str:
    """The id of a job that has ended so: of the tool ``add``, in the queue of the store's tests."""
    broker = Broker(url)
    await broker.prepare(QUEUE)
    held = await Queue(broker).make(state)
    await broker.close()
    return job_id(QUEUE, held.key)
