"""``taskserver doctor`` finds a damaged queue, ``--fix`` makes it whole, and the jobs run."""

from __future__ import annotations

import redis

from tests.acceptance.cli import Cli, without_colours


def broker(cli: Cli) -> redis.Redis:
    return redis.Redis.from_url(cli.env["TASKSERVER_BROKER_URL"])


def damage(cli: Cli) -> list[str]:
    """A job without a wake-up call, one whose lane somebody has overwritten, and a record that would vanish."""
    ids = [
        cli.submit("add", f"a={number}", "--priority", lane) for number, lane in enumerate(("high", "low", "normal"))
    ]
    with broker(cli) as server:
        server.delete("ts:{default}:lane:high")
        server.set("ts:{default}:lane:low", "what is this")
        server.expire("ts:{default}:job:" + ids[2].removeprefix("default-"), 3600)
    return ids


def test_fix_repairs_what_the_doctor_has_reported_and_the_jobs_run(cli: Cli) -> None:
    ids = damage(cli)
    done = cli.run("doctor")
    assert done.code == 1
    assert "1 key of the wrong type or unreadable: lane:low" in done.out
    assert "→ taskserver doctor --fix: set aside for 30 days, and recreated" in done.out
    assert "2 lanes without a stream or consumer group: high, low" in done.out
    fixed = cli.ok("doctor", "--fix")
    assert "2 jobs that nothing would wake, end or list" in fixed.out
    assert ": queued or listed again" in fixed.out
    assert "3 jobs and no live worker" in fixed.out
    assert "✗" not in fixed.out
    cli.worker()
    assert [cli.ok("job", "result", each).out for each in ids] == ["1\n", "2\n", "3\n"]


def test_as_json_repairs_are_findings_too(cli: Cli) -> None:
    damage(cli)
    levels = [finding["level"] for finding in cli.run("doctor", "--json").json]
    assert "error" in levels
    assert "repaired" not in levels
    found = cli.ok("doctor", "--fix", "--json").json
    assert {finding["level"] for finding in found} == {"ok", "warning", "repaired"}
    assert "repaired" not in {finding["level"] for finding in cli.ok("doctor", "--fix", "--json").json}


def test_a_whole_queue_is_one_line_and_the_bar_is_gone(cli: Cli) -> None:
    cli.worker()
    cli.ok("job", "result", cli.submit("add", "a=1"))
    line = next(line for line in cli.ok("doctor").out.splitlines() if "queue default" in line)
    assert line.split(maxsplit=3)[3] == "0 waiting, 0 running, 0 delayed; 1 worker"
    _, seen = cli.at_terminal("doctor")
    assert "0 waiting, 0 running, 0 delayed; 1 worker" in without_colours(seen)


def test_keys_of_a_newer_version_are_refused_with_the_command_to_run(cli: Cli) -> None:
    with broker(cli) as server:
        server.set("ts:schema", "2 0.9.0")
    sentence = "has schema 2, but this version of taskserver supports schema 1"
    for command in (("submit", "add"), ("worker", "--tools", "agent_tools"), ("queue", "list")):
        done = cli.run(*command)
        assert (done.code, done.err.count("\n")) == (4, 1)
        assert f"{sentence}: pip install --upgrade 'agent-taskserver>=0.9.0'" in done.err
    done = cli.run("doctor", "--fix")
    assert (done.code, sentence in done.out) == (1, True)
    assert "→ pip install --upgrade 'agent-taskserver>=0.9.0'" in done.out


def test_a_damaged_schema_is_refused_until_it_is_repaired(cli: Cli) -> None:
    with broker(cli) as server:
        server.set("ts:schema", "banana")
    assert "ts:schema holds 'banana': taskserver doctor --fix" in cli.run("queue", "list").err
    assert "replaced: 1" in cli.ok("doctor", "--fix").out
    cli.ok("queue", "list")
