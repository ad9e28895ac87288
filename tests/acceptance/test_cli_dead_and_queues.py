"""``taskserver dead`` and ``taskserver queue``: dead letters and queues looked at, moved and emptied."""

from __future__ import annotations

import pytest

from tests.acceptance.cli import Cli


@pytest.fixture
def letters(cli: Cli) -> list[str]:
    """Three dead letters, the last in a queue of its own."""
    cli.worker("-q", "default", "-q", "other")
    ids = [
        cli.submit("fail", "message=red", "--max-retries", "0"),
        cli.submit("fail", "message=blue", "--max-retries", "0"),
        cli.submit("fail", "message=red", "--max-retries", "0", "--queue", "other"),
    ]
    for each in ids:
        assert cli.run("job", "result", each).code == 1
    return ids


def dead(cli: Cli, *filters: str) -> set[str]:
    return {letter["id"] for letter in cli.ok("dead", "list", "--json", *filters).json}


def test_dead_list_filters(cli: Cli, letters: list[str]) -> None:
    first, second, third = letters
    assert dead(cli) == {first, second, third}
    assert dead(cli, "--queue", "other") == {third}
    assert dead(cli, "--error", "red") == {first, third}
    assert dead(cli, "--tool", "add") == set()
    assert len(dead(cli, "--limit", "2")) == 2
    assert "ValueError: blue" in cli.ok("dead", "list").out


def test_dead_show(cli: Cli, letters: list[str]) -> None:
    assert "Traceback" in cli.ok("dead", "show", letters[0]).out
    assert cli.ok("dead", "show", letters[0], "--json").json["arguments"] == {"message": "red"}
    other = cli.submit("add", "a=1", "--delay", "1h")
    done = cli.run("dead", "show", other)
    assert done.code == 1
    assert "is delayed, not a dead letter" in done.err


def test_dead_requeue_runs_them_again(cli: Cli, letters: list[str]) -> None:
    assert cli.ok("dead", "requeue", letters[0]).out == "1 dead letter queued again\n"
    assert cli.ok("dead", "requeue", "--all", "--queue", "other", "--json").json == {"requeued": 1}
    assert cli.run("job", "result", letters[0]).code == 1
    events = [record["event"] for record in cli.state(letters[0])["history"]]
    assert events == ["dead", "requeue", "dead"]


def test_dead_purge_asks_first(cli: Cli, letters: list[str]) -> None:
    done = cli.run("dead", "purge", "--all")
    assert (done.code, done.out) == (2, "")
    assert "this would delete 3 dead letters for good: confirm with --yes" in done.err
    code, seen = cli.at_terminal("dead", "purge", "--all", answer="n\n")
    assert code == 0
    assert "Delete 3 dead letters for good? [y/N]" in seen
    assert len(dead(cli)) == 3
    cli.at_terminal("dead", "purge", letters[0], answer="y\n")
    assert dead(cli) == set(letters[1:])


def test_dead_purge_deletes_for_good(cli: Cli, letters: list[str]) -> None:
    assert cli.ok("dead", "purge", "--all", "--error", "red", "--yes", "--json").json == {"purged": 2}
    assert dead(cli) == {letters[1]}
    assert cli.run("job", "status", letters[0]).code == 3
    assert cli.ok("dead", "purge", "--all", "--error", "red").out == "0 dead letters deleted\n"


def test_dead_purge_spares_what_is_no_dead_letter(cli: Cli) -> None:
    job_id = cli.submit("add", "a=1")
    assert cli.run("dead", "purge", job_id, "--yes").code == 1
    assert cli.state(job_id)["state"] == "queued"


def test_queue_list(cli: Cli) -> None:
    assert "no queues yet" in cli.ok("queue", "list").err
    cli.submit("add", "a=1", "--priority", "high")
    cli.submit("add", "a=1")
    cli.submit("add", "a=1", "--delay", "1h")
    (found,) = cli.ok("queue", "list", "--json").json
    assert (found["name"], found["paused"], found["delayed"], found["running"]) == ("default", False, 1, 0)
    assert (found["ready"]["high"], found["ready"]["normal"], found["ready"]["low"]) == (1, 1, 0)
    head, row = cli.ok("queue", "list").out.splitlines()
    assert head.split()[:4] == ["QUEUE", "HIGH", "NORMAL", "LOW"]
    assert row.split()[:4] == ["default", "1", "1", "0"]


def test_queue_list_knows_the_workers(cli: Cli) -> None:
    cli.worker()
    cli.holding()
    (found,) = cli.ok("queue", "list", "--json").json
    assert (len(found["workers"]), found["running"]) == (1, 1)
    cli.open_gate()


def test_queue_pause_and_resume(cli: Cli) -> None:
    cli.worker()
    assert cli.ok("queue", "pause", "default").out == "queue default paused\n"
    assert "default (paused)" in cli.ok("queue", "list").out
    job_id = cli.submit("add", "a=1")
    assert cli.run("job", "result", job_id, "--timeout", "0.3").code == 5
    assert cli.ok("queue", "resume", "default", "--json").json == {"name": "default", "paused": False}
    assert cli.ok("job", "result", job_id).out == "2\n"


def test_queue_purge_asks_first_and_cancels_what_waits(cli: Cli) -> None:
    now, later = cli.submit("add", "a=1"), cli.submit("add", "a=1", "--delay", "1h")
    done = cli.run("queue", "purge", "default")
    assert done.code == 2
    assert "this would cancel 2 waiting jobs of queue default: confirm with --yes" in done.err
    assert cli.ok("queue", "purge", "default", "--yes").out == "2 jobs cancelled\n"
    assert [cli.state(each)["state"] for each in (now, later)] == ["cancelled", "cancelled"]
    assert cli.ok("queue", "purge", "default", "--json").json == {"name": "default", "cancelled": 0}


def test_queue_purge_at_a_terminal(cli: Cli) -> None:
    job_id = cli.submit("add", "a=1")
    code, seen = cli.at_terminal("queue", "purge", "default", answer="y\n")
    assert code == 0
    assert "Cancel 1 waiting job of queue default?" in seen
    assert cli.state(job_id)["state"] == "cancelled"


def test_dead_letters_are_signed_anew_but_not_those_that_somebody_else_wrote(cli: Cli) -> None:
    key = {"KEY": "k" * 32, "TASKSERVER_SIGNING_KEYS": "env:KEY"}
    worker = cli.worker(**key)
    ours = cli.ok("submit", "fail", **key).out.strip()
    theirs = cli.submit("fail")
    for job, error in ((ours, "ValueError"), (theirs, "SignatureInvalid")):
        assert error in cli.run("job", "result", job).err
    done = cli.ok("dead", "requeue", "--all", **key)
    assert done.out == "1 dead letter queued again\n"
    assert done.err == "1 dead letter skipped: not signed with a known key; submit those jobs anew\n"
    assert "ValueError" in cli.run("job", "result", ours).err
    assert cli.run("job", "retry", theirs, **key).code == 1
    worker.signal(15)
    assert "only signed messages" in worker.end().err


def test_lists_that_are_cut_say_so(cli: Cli) -> None:
    cli.worker()
    for _ in range(3):
        cli.ok("job", "result", cli.submit("add", "a=1"))
        cli.run("job", "result", cli.submit("fail", "--max-retries", "0"))
    for command, shown in (
        ("job list --limit 5", "5 jobs shown: --limit N shows more\n"),
        ("job list --limit 1", "1 job shown: --limit N shows more\n"),
        ("job list --limit 6", ""),
        ("dead list --limit 2", "2 of 3 dead letters shown: --limit N shows more\n"),
        ("dead list --limit 2 --tool fail", "2 dead letters shown: --limit N shows more\n"),
        ("dead list --limit 3", ""),
    ):
        done = cli.ok(*command.split())
        assert (done.err, len(done.out.splitlines()) - 1) == (shown, int(command.split()[3])), command
        done = cli.ok(*command.split(), "--json")
        assert (done.err, len(done.json)) == (shown, int(command.split()[3])), command
