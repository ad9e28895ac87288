"""``taskserver worker status|stop|restart|scale``: managing workers on any machine, over the broker."""

from __future__ import annotations

import os
import time

import pytest

from taskserver.cli.main import run
from tests.acceptance.cli import Cli
from tests.acceptance.fleet import holding, replicas, runner, state, until, workers


def test_status_shows_every_worker(cli: Cli) -> None:
    begun = time.time()
    replicas(cli, 2, "-c", "3", "-q", "a", "-q", "default")
    cli.worker("-q", "b")
    job_id = holding(cli)
    runner(cli, job_id)
    found = cli.ok("worker", "status", "--json").json
    assert len(found) == 3
    alone = next(each for each in found if each["supervisor"] is None)
    assert (alone["queues"], alone["replica"], alone["slots"], alone["running"]) == (["b"], None, 4, [])
    one, two = (each for each in found if each["supervisor"])
    assert [one["replica"], two["replica"]] == [1, 2]
    assert one["supervisor"] == two["supervisor"]
    assert one["host"] == os.uname().nodename
    assert one["queues"] == ["a", "default"]
    assert one["tools"] == ["add", "count", "echo", "fail", "hold", "steps"]
    assert (one["task_server"], one["state"], one["slots"]) == ("worker", "running", 3)
    assert one["version"]
    assert one["memory"] > 10_000_000
    assert 0 <= one["heartbeat_age"] <= time.time() - begun
    assert begun - 1 <= one["started_at"] <= one["heartbeat_at"] <= time.time() + 1
    busy = one if one["busy"] else two
    assert busy["busy"] == 1
    (job,) = busy["running"]
    assert (job["id"], job["tool"], job["attempt"]) == (job_id, "hold", 1)
    assert 0 <= job["age"] <= time.time() - begun
    lines = cli.ok("worker", "status").out.splitlines()
    head = "WORKER SERVER HOST PID VERSION QUEUES TOOLS SLOTS MEMORY HEARTBEAT UP RUNNING"
    assert " ".join(lines[0].split()) == head
    assert lines[-1] == "3 workers on 1 host, 1 of 10 slots busy"
    assert [each["name"] for each in cli.ok("worker", "status", "--json", "-q", "b").json] == [alone["name"]]
    cli.open_gate()


def test_no_worker_is_running(cli: Cli) -> None:
    done = cli.ok("worker", "status")
    assert (done.out, done.err) == ("", "no worker is running\n")
    assert cli.ok("worker", "status", "--json").json == []
    done = cli.run("worker", "stop", "--all")
    assert (done.code, done.err) == (3, "taskserver: no worker is running\n")


def test_stop_drains_what_is_named_and_nothing_else(cli: Cli) -> None:
    supervisor, other = replicas(cli, 2), cli.worker("-q", "other", "--lease", "1")
    job_id = holding(cli)
    name = str(runner(cli, job_id).supervisor)
    missed = cli.run("worker", "stop", name[:-1] + "x")
    assert (missed.code, f"did you mean '{name}'?" in missed.err) == (3, True)
    late = cli.run("worker", "stop", name, "--timeout", "0.3")
    assert (late.code, "still to stop after 0.3 s" in late.err) == (5, True)
    cli.open_gate()
    assert supervisor.end().code == 0
    assert state(cli, job_id) == ("succeeded", 1)
    (left,) = workers(cli)
    assert left.pid == other.pid
    assert cli.ok("worker", "stop", left.name).out == "1 worker stopped\n"
    assert other.end().code == 0


def test_stop_now_hands_jobs_to_others(cli: Cli) -> None:
    supervisor = replicas(cli, 2, "--grace-period", "1h")
    job_id = holding(cli)
    assert cli.ok("worker", "stop", "worker", "--now").out == "2 workers stopped\n"
    assert supervisor.end().code == 0
    assert state(cli, job_id) == ("queued", 0)


def test_one_replica_that_is_stopped_by_its_name_is_not_replaced(cli: Cli) -> None:
    supervisor = replicas(cli, 2)
    first, second = workers(cli)
    cli.ok("worker", "stop", first.name)
    assert [each.name for each in workers(cli)] == [second.name]
    cli.ok("worker", "stop", second.name)
    assert supervisor.end().code == 0


def test_restart_replaces_every_replica(cli: Cli) -> None:
    replicas(cli, 2)
    before = {each.name for each in workers(cli)}
    assert cli.ok("worker", "restart", "--all").out == "2 workers replaced\n"
    after = until(cli, lambda there: len(there) == 2)
    assert before.isdisjoint(each.name for each in after)
    assert [each.replica for each in after] == [1, 2]


def test_scale_up_and_down_under_load(cli: Cli) -> None:
    supervisor = replicas(cli, 2, "-c", "1")
    first = [holding(cli), holding(cli)]  # there is no other slot
    assert "2 replicas before, 4 replicas now" in cli.ok("worker", "scale", "4").out
    others = [holding(cli), holding(cli)]
    cli.ok("worker", "scale", "1", "worker", "--no-wait")
    supervisor.wait_for("is scaling from 4 to 1 replica")
    cli.open_gate()
    until(cli, lambda there: [each.replica for each in there] == [1])
    assert [state(cli, job) for job in (*first, *others)] == [("succeeded", 1)] * 4


def test_a_worker_without_a_supervisor_cannot_be_restarted_or_scaled(cli: Cli) -> None:
    cli.worker()
    for command, what in ((("restart", "worker"), "replace"), (("scale", "2"), "add to")):
        done = cli.run("worker", *command)
        assert done.code == 2
        assert f"has no supervisor that could {what} it: start it with --replicas 2 or more" in done.err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("scale", "0"), "replicas must be between 1 and 1000, not 0"),
        (("stop",), "select workers by name, --host, --queue or --all"),
    ],
)
def test_invalid_commands(cli: Cli, command: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worker", *command, "--broker", cli.env["TASKSERVER_BROKER_URL"]]) == 2
    assert message in capsys.readouterr().err
