"""``taskserver job``: what is to be seen of a job, and what can be done to it."""

from __future__ import annotations

import json

from tests.acceptance.cli import Cli, without_colours


def test_the_card_of_a_running_job(cli: Cli) -> None:
    cli.worker()
    job_id = cli.holding("--max-retries", "2", "--tag", "x")
    card = cli.ok("job", "status", job_id).out
    lines = dict(line.split(maxsplit=1) for line in card.splitlines())
    assert lines["job"] == job_id
    assert (lines["state"], lines["tool"], lines["attempt"], lines["tags"]) == ("running", "hold", "1 of 3", "x")
    assert lines["progress"] == "50% holding"
    assert lines["submitted"].endswith(("(now)", "ago)"))
    assert "ended" not in lines
    cli.open_gate()


def test_the_card_of_a_dead_letter_tells_why(cli: Cli) -> None:
    cli.worker()
    job_id = cli.submit("fail", "message=no luck", "--max-retries", "0")
    assert cli.run("job", "result", job_id).code == 1
    card = cli.ok("job", "status", job_id).out
    assert "ValueError: no luck" in card
    assert 'agent_tools.py", line' in card
    assert "attempt 1: dead" in card


def test_status_as_json_names_every_field(cli: Cli) -> None:
    cli.worker()
    job_id = cli.submit("fail", "message=no luck", "--max-retries", "0")
    cli.run("job", "result", job_id)
    job = cli.state(job_id)
    assert job["error"]["message"] == "no luck"
    assert job["history"][0]["event"] == "dead"
    assert job["history"][0]["error"]["type"] == "ValueError"
    assert job["history"][0]["at"] == job["ended_at"]


def test_result_as_text_as_json_and_with_its_state(cli: Cli) -> None:
    cli.worker()
    text, number = cli.submit("echo", "text=some words"), cli.submit("add", "a=1")
    assert cli.ok("job", "result", text).out == "some words\n"
    assert cli.ok("job", "result", number).out == "2\n"
    assert cli.ok("job", "result", text, "--json").json == {"id": text, "state": "succeeded", "result": "some words"}


def test_result_waits_only_as_long_as_it_is_told(cli: Cli) -> None:
    done = cli.run("job", "result", cli.submit("add", "a=1"), "--timeout", "100ms")
    assert (done.code, done.out) == (5, "")


def test_the_result_of_a_cancelled_job(cli: Cli) -> None:
    job_id = cli.submit("add", "a=1")
    assert cli.ok("job", "cancel", job_id).out == f"job {job_id} cancelled\n"
    done = cli.run("job", "result", job_id, "--json")
    assert (done.code, done.json["state"]) == (1, "cancelled")
    assert "was cancelled" in done.err


def test_events_as_text_and_as_json_from_a_cursor_on(cli: Cli) -> None:
    cli.worker()
    job_id = cli.submit("steps")
    assert cli.ok("job", "events", job_id).out == "[ 25%] begun\nsome words\n[ 75%] nearly done\n"
    events = [json.loads(line) for line in cli.ok("job", "events", job_id, "--json").out.splitlines()]
    assert [event["text"] for event in events] == ["begun", "some ", "words", "nearly done"]
    assert events[0]["progress"] == 0.25
    rest = cli.ok("job", "events", job_id, "--after", events[1]["cursor"]).out
    assert rest == "words\n[ 75%] nearly done\n"


def test_events_that_are_gone_are_a_line_and_an_object(cli: Cli) -> None:
    cli.worker()
    job_id = cli.submit("count", "limit=5000")
    cli.ok("job", "result", job_id)
    gap, first, *rest = [json.loads(line) for line in cli.ok("job", "events", job_id, "--json").out.splitlines()]
    assert (gap["kind"], gap["missing"], first["text"]) == ("gap", 5000 - 1 - len(rest), f"{gap['missing']} ")
    line, output = cli.ok("job", "events", job_id).out.splitlines()
    assert line == f"[{gap['missing']:,} events are missing here]"
    assert output.startswith(f"{gap['missing']} ")


def test_a_cursor_that_is_none_of_this_jobs_is_a_wrong_option(cli: Cli) -> None:
    cli.worker()
    one, other = cli.submit("steps"), cli.submit("steps")
    cursor = json.loads(cli.ok("job", "events", one, "--json").out.splitlines()[0])["cursor"]
    for after, sentence in (("abc", "'abc' is not a cursor"), (cursor, "is one of another job")):
        done = cli.run("job", "events", other, "--after", after)
        assert (done.code, done.out) == (2, "")
        assert sentence in done.err


def test_cancel_ends_a_running_job(cli: Cli) -> None:
    cli.worker()
    job_id = cli.holding()
    assert cli.ok("job", "cancel", job_id, "--json").json == {"id": job_id, "state": "running"}
    assert cli.run("job", "result", job_id).code == 1
    assert cli.state(job_id)["state"] == "cancelled"


def test_cancel_of_a_job_that_has_ended_is_refused(cli: Cli) -> None:
    cli.worker()
    job_id = cli.submit("add", "a=1")
    cli.ok("job", "result", job_id)
    done = cli.run("job", "cancel", job_id)
    assert done.code == 1
    assert "has already ended: it is succeeded" in done.err


def test_retry_runs_an_ended_job_again(cli: Cli) -> None:
    job_id = cli.submit("add", "a=1")
    done = cli.run("job", "retry", job_id)
    assert done.code == 1
    assert "is queued: only a job that has ended" in done.err
    cli.ok("job", "cancel", job_id)
    assert cli.ok("job", "retry", job_id).out == f"job {job_id} queued again\n"
    cli.worker()
    assert cli.ok("job", "result", job_id).out == "2\n"


def test_list_is_newest_first_and_filters(cli: Cli) -> None:
    first = cli.submit("add", "a=1", "--tag", "x", "--session-id", "s")
    second = cli.submit("echo", "text=t", "--queue", "other")
    third = cli.submit("add", "a=1", "--delay", "1h")

    def listed(*filters: str) -> list[str]:
        return [job["id"] for job in cli.ok("job", "list", "--json", *filters).json]

    assert listed() == [third, second, first]
    assert listed("--limit", "2") == [third, second]
    assert listed("--queue", "other") == [second]
    assert listed("--tool", "add") == [third, first]
    assert listed("--state", "delayed") == [third]
    assert listed("--tag", "x") == listed("--session-id", "s") == [first]


def test_list_as_a_table(cli: Cli) -> None:
    assert cli.ok("job", "list").err == "no matching jobs\n"
    job_id = cli.submit("add", "a=1")
    head, row = cli.ok("job", "list").out.splitlines()
    assert head.split()[:3] == ["JOB", "TOOL", "STATE"]
    assert row.split()[:3] == [job_id, "add", "queued"]


def test_a_table_fits_the_terminal(cli: Cli) -> None:
    cli.worker()
    job_id = cli.submit("fail", f"message={'long ' * 50}", "--max-retries", "0")
    cli.run("job", "result", job_id)
    _, seen = cli.at_terminal("dead", "list", COLUMNS="80")
    assert all(len(line) <= 80 for line in without_colours(seen).splitlines())
    assert job_id in seen
    assert "…" in seen
