"""``taskserver submit``, with and without waiting."""

from __future__ import annotations

import signal

import pytest

from tests.acceptance.cli import Cli, without_colours


def test_prints_the_id_and_nothing_else(cli: Cli) -> None:
    done = cli.ok("submit", "add", "a=1")
    assert done.err == ""
    assert cli.state(done.out.strip())["state"] == "queued"


def test_json(cli: Cli) -> None:
    assert cli.ok("submit", "add", "a=1", "--json").json["id"].startswith("default-")


def test_arguments_as_one_json_object(cli: Cli) -> None:
    job_id = cli.submit("add", '{"a": 1, "b": [2, "x"]}')
    assert cli.state(job_id)["arguments"] == {"a": 1, "b": [2, "x"]}


def test_options_reach_the_job(cli: Cli) -> None:
    options = ("--queue", "slow", "--priority", "2", "--delay", "1h", "--max-retries", "4", "--session-id", "s")
    job = cli.state(cli.submit("add", *options, "--tag", "x", "--tag", "y", "--expires", "1d", "--job-timeout", "5m"))
    assert (job["queue"], job["lane"], job["state"], job["max_attempts"]) == ("slow", "high", "delayed", 5)
    assert (job["session_id"], job["tags"]) == ("s", ["x", "y"])
    assert 3599 < job["due_at"] - job["submitted_at"] < 3660


def test_the_same_idempotency_key_is_the_same_job(cli: Cli) -> None:
    assert cli.submit("add", "--idempotency-key", "k") == cli.submit("add", "--idempotency-key", "k")


def test_a_key_that_was_used_before_is_told(cli: Cli) -> None:
    new = cli.ok("submit", "add", "a=1", "--idempotency-key", "k", "--json")
    assert (new.json["idempotency_key"], new.json["existed"], new.err) == ("k", None, "")
    again = cli.ok("submit", "add", "a=1", "--idempotency-key", "k", "--json")
    assert (again.json["id"], again.json["existed"]) == (new.json["id"], "queued")
    assert again.err == f"job {new.json['id']} was submitted before with this key: it is queued\n"
    other = cli.run("submit", "add", "a=2", "--idempotency-key", "k")
    assert (other.code, other.out) == (1, "")
    assert f"belongs to job {new.json['id']} already, which calls add with another value of a" in other.err
    cli.ok("job", "cancel", new.json["id"])
    assert cli.run("submit", "add", "a=1", "--idempotency-key", "k", "--on-existing", "raise").code == 1
    rerun = cli.ok("submit", "add", "a=1", "--idempotency-key", "k", "--on-existing", "rerun")
    assert rerun.err == f"job {new.json['id']} was submitted before with this key: it runs again\n"
    assert cli.state(new.json["id"])["state"] == "queued"


def test_waits_for_the_result(cli: Cli) -> None:
    cli.worker()
    done = cli.ok("submit", "add", "a=2", "b=3", "--wait")
    assert done.out == "5\n"
    assert cli.ok("submit", "echo", "text=two words", "--wait").out == "two words\n"


def test_waiting_shows_progress_and_output_on_stderr(cli: Cli) -> None:
    cli.worker()
    done = cli.ok("submit", "steps", "--wait", "--json")
    assert (done.json["state"], done.json["result"]) == ("succeeded", {"steps": 2})
    assert done.err.splitlines()[1:] == ["[ 25%] begun", "some words", "[ 75%] nearly done"]


def test_waiting_at_a_terminal_shows_a_bar(cli: Cli) -> None:
    cli.worker()
    code, seen = cli.at_terminal("submit", "steps", "--wait")
    assert code == 0
    assert "some words" in without_colours(seen)
    assert '"steps": 2' in without_colours(seen)


def test_a_failed_job_is_exit_code_1(cli: Cli) -> None:
    cli.worker()
    done = cli.run("submit", "fail", "message=no luck", "--wait")
    assert (done.code, done.out) == (1, "")
    assert "ValueError: no luck" in done.err
    assert "Traceback" not in done.err
    done = cli.run("submit", "fail", "--wait", "--json")
    assert (done.code, done.json["state"], done.json["error"]["type"]) == (1, "dead", "ValueError")
    job_id = done.json["id"]
    assert {cli.run("job", what, job_id, "--json").json["state"] for what in ("status", "result")} == {"dead"}
    assert f"job {job_id} is dead: " in cli.run("job", "result", job_id).err


def test_waited_long_enough_is_exit_code_5_and_the_job_goes_on(cli: Cli) -> None:
    done = cli.run("submit", "add", "a=1", "--wait", "--timeout", "0.2")
    assert (done.code, done.out) == (5, "")
    assert "it keeps running" in done.err
    (job,) = cli.ok("job", "list", "--json").json
    assert job["state"] == "queued"


def test_interrupted_is_exit_code_130_and_the_job_goes_on(cli: Cli) -> None:
    cli.worker()
    waiting = cli.start("submit", "hold", f"gate={cli.gate}", "--wait")
    job_id = waiting.wait_for("job ").split()[-1]
    waiting.wait_for("holding")
    waiting.signal(signal.SIGINT)
    done = waiting.end()
    assert (done.code, done.out) == (130, "")
    assert "taskserver: interrupted\n" in done.err
    assert "Traceback" not in done.err
    cli.open_gate()
    assert cli.ok("job", "result", job_id).out.startswith("attempt 1 ")


def test_with_tools_their_types_decide(cli: Cli) -> None:
    cli.worker()
    done = cli.ok("submit", "echo", "text=007", "--wait", "--tools", "agent_tools")
    assert done.out == "007\n"


def test_without_tools_an_error_about_a_guessed_value_says_so(cli: Cli) -> None:
    cli.worker()
    for value in ("123", '{"a": 1}', "true", "null", "1e5"):
        done = cli.run("submit", "echo", f"text={value}", "--wait")
        assert (done.code, done.out) == (1, "")
        assert "without --tools, text was taken as JSON: for text, put it in double quotes too" in done.err
    assert cli.ok("submit", "echo", 'text="123"', "--wait").out == "123\n"
    assert "taken as JSON" not in cli.run("submit", "echo", "txt=word", "--wait").err
    assert "taken as JSON" not in cli.run("submit", "echo", '{"text": 1}', "--wait").err
    assert "taken as JSON" not in cli.run("submit", "add", "a=x", "b=2", "--wait").err  # b was right


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("ecko",), "unknown tool 'ecko'; did you mean 'echo'?"),
        (("add", "a=x"), "argument 'a': expected int, got str"),
        (("add",), "missing argument 'a'"),
        (("add", "a=1", "c=2"), "unknown argument 'c'"),
    ],
)
def test_with_tools_mistakes_are_found_before_anything_is_sent(cli: Cli, args: tuple[str, ...], sentence: str) -> None:
    done = cli.run("submit", *args, TASKSERVER_TOOLS="agent_tools")
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err
    assert cli.ok("job", "list", "--json").json == []
