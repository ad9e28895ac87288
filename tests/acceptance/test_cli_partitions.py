"""What people see of a queue with partitions is the queue."""

from __future__ import annotations

import json

from tests.acceptance.cli import Cli


def test_a_queue_with_partitions_is_one_queue(cli: Cli) -> None:
    assert cli.ok("queue", "partitions", "mail", "3").out == "queue mail has 3 partitions\n"
    assert cli.ok("queue", "partitions", "mail", "--json").json == {"name": "mail", "partitions": 3}
    ids = [cli.submit("add", f"a={i}", "--queue", "mail", "--idempotency-key", f"key {i}") for i in range(5)]
    assert len({each.rpartition("-")[0] for each in ids}) > 1
    (found,) = cli.ok("queue", "list", "--json").json
    assert (found["name"], found["partitions"], found["ready"]["normal"]) == ("mail", 3, 5)
    head, row = cli.ok("queue", "list").out.splitlines()
    assert (head.split()[-1], row.split()[0], row.split()[-1]) == ("PARTITIONS", "mail", "3")
    parts = cli.ok("queue", "list", "--partitions", "--json").json
    assert [part["name"] for part in parts] == ["mail", "mail~1", "mail~2"]
    assert sum(part["ready"]["normal"] for part in parts) == 5
    listed = cli.ok("job", "list", "--queue", "mail", "--json").json
    assert {job["id"] for job in listed} == set(ids)
    assert {job["queue"] for job in listed} == {"mail"}
    metrics = cli.ok("metrics", "--once").out
    assert 'taskserver_queue_ready{queue="mail"} 5.0' in metrics
    assert "taskserver_queues 1.0" in metrics
    assert "~" not in metrics
    cli.ok("queue", "pause", "mail")
    assert {part["paused"] for part in cli.ok("queue", "list", "--partitions", "--json").json} == {True}
    assert "taskserver queue resume mail\n" in cli.run("doctor").out
    cli.ok("queue", "resume", "mail")
    assert {part["paused"] for part in cli.ok("queue", "list", "--partitions", "--json").json} == {False}
    assert cli.ok("queue", "purge", "mail", "--yes").out == "5 jobs cancelled\n"
    assert {job["state"] for job in cli.ok("job", "list", "--queue", "mail", "--json").json} == {"cancelled"}


def test_dead_letters_of_all_partitions(cli: Cli) -> None:
    cli.ok("queue", "partitions", "mail", "3")
    cli.worker("--queue", "mail")
    ids = [cli.submit("fail", "--queue", "mail", "--idempotency-key", f"key {i}") for i in range(4)]
    for each in ids:
        cli.run("job", "result", each)
    found = [letter["id"] for letter in cli.ok("dead", "list", "--queue", "mail", "--json").json]
    assert set(found) == set(ids)
    assert len({each.rpartition("-")[0] for each in found}) > 1
    died = [letter["ended_at"] for letter in cli.ok("dead", "list", "--queue", "mail", "--json").json]
    assert died == sorted(died, reverse=True)
    (worker,) = cli.ok("worker", "status", "--json").json
    assert worker["queues"] == ["mail"]
    assert cli.ok("dead", "purge", "--all", "--queue", "mail", "--yes").out == "4 dead letters deleted\n"


def test_what_cannot_be_is_said(cli: Cli) -> None:
    cli.ok("queue", "partitions", "mail", "3")
    refused = cli.run("submit", "add", "a=1", "--queue", "mail~1")
    assert (refused.code, "'mail~1' is not a valid queue name" in refused.err) == (2, True)
    refused = cli.run("queue", "partitions", "mail", "2")
    assert (refused.code, "queue 'mail' has 3 partitions and cannot shrink" in refused.err) == (2, True)
    assert cli.run("queue", "partitions", "mail", "257").code == 2
    assert cli.run("queue", "pause", "mail~1").code == 2
    refused = cli.run("queue", "partitions", "male")
    assert "no queue 'male' at this broker; did you mean 'mail'?" in refused.err
    assert json.loads(cli.ok("queue", "list", "--json").out)[0]["partitions"] == 3
