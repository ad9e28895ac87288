"""``taskserver worker`` as a process: it starts, stops, dies and waits."""

from __future__ import annotations

import signal

import pytest

from tests.acceptance.cli import Cli
from tests.brokers import Server


@pytest.mark.parametrize("command", [("worker",), ("worker", "start")])
def test_start_is_the_default(cli: Cli, command: tuple[str, ...]) -> None:
    worker = cli.start(*command, "--concurrency", "3", "--tools", "agent_tools", "-q", "a", "-q", "b")
    ready = worker.wait_for("is ready")
    assert "queues a, b; 3 slots; tools add, count, echo, fail, hold, steps" in ready
    worker.signal(signal.SIGTERM)
    done = worker.end()
    assert (done.code, done.out) == (0, "")


def test_help_of_the_group_has_the_options_of_start(cli: Cli) -> None:
    assert "--grace-period SECONDS" in cli.ok("worker", "--help").out


def test_settings_come_from_the_environment(cli: Cli) -> None:
    worker = cli.start(
        "worker", TASKSERVER_TOOLS="agent_tools,json", TASKSERVER_CONCURRENCY="2", TASKSERVER_QUEUE="elsewhere"
    )
    assert "queue elsewhere; 2 slots" in worker.wait_for("is ready")


def test_the_log_is_a_line_for_each_record_with_the_job_of_a_tool(cli: Cli) -> None:
    worker = cli.worker()
    job_id = cli.holding()
    line = worker.wait_for("holding")
    expected = ["info", "holding", f"[job={job_id}", "attempt=1", "tool=hold", "queue=default"]
    assert line.split()[1:-1] == expected
    assert line.split()[-1].startswith("worker=")
    cli.open_gate()


def test_loglevel(cli: Cli) -> None:
    worker = cli.start("worker", "--tools", "agent_tools", "-l", "error")
    assert cli.ok("submit", "add", "a=1", "--wait").out == "2\n"
    worker.signal(signal.SIGTERM)
    assert worker.end().err == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_running_job_ends_before_the_worker_does(cli: Cli, number: int) -> None:
    worker = cli.worker()
    job_id = cli.holding()
    worker.signal(number)
    worker.wait_for("is stopping; running jobs: 1")
    cli.open_gate()
    assert worker.end().code == 0
    job = cli.state(job_id)
    assert (job["state"], job["attempt"], job["history"]) == ("succeeded", 1, [])


def test_after_the_grace_period_jobs_go_to_another_worker_with_the_attempt_unspent(cli: Cli) -> None:
    first = cli.worker("--grace-period", "0.1")
    job_id = cli.holding()
    first.signal(signal.SIGTERM)
    assert first.end().code == 0
    job = cli.state(job_id)
    assert (job["state"], job["attempt"], job["history"][-1]["event"]) == ("queued", 0, "released")
    second = cli.worker()
    cli.open_gate()
    assert cli.ok("job", "result", job_id).out == f"attempt 1 in {second.pid}\n"


def test_a_second_signal_does_not_wait(cli: Cli) -> None:
    worker = cli.worker("--grace-period", "1h")
    job_id = cli.holding()
    worker.signal(signal.SIGTERM)
    worker.wait_for("is stopping; running jobs: 1")
    worker.signal(signal.SIGTERM)
    assert worker.end().code == 0
    assert cli.state(job_id)["state"] == "queued"


def test_a_killed_workers_job_ends_on_another(cli: Cli) -> None:
    first = cli.worker("--lease", "0.5")
    job_id = cli.holding()
    first.signal(signal.SIGKILL)
    first.end()
    second = cli.worker("--lease", "0.5")
    cli.open_gate()
    assert cli.ok("job", "result", job_id).out == f"attempt 2 in {second.pid}\n"
    assert [record["event"] for record in cli.state(job_id)["history"]] == ["lost"]


def test_a_thread_that_goes_on_does_not_keep_the_process(cli: Cli) -> None:
    (cli.folder / "blocking.py").write_text(
        "import threading\nfrom taskserver import Context, tool\n\n\n"
        "@tool\ndef block(ctx: Context) -> None:\n"
        "    ctx.progress(0.5, 'holding')\n    threading.Event().wait()\n"
    )
    worker = cli.start("worker", "--tools", "blocking", "--grace-period", "0")
    worker.wait_for("is ready")
    job_id = cli.submit("block")
    cli.start("job", "events", job_id).wait_for("holding", "out")
    worker.signal(signal.SIGTERM)
    assert worker.end().code == 0
    assert cli.state(job_id)["state"] == "queued"


@pytest.fixture
def late_server(one_broker_url: str, servers: dict[str, Server]) -> Server:
    """A server that is not started yet, like the one that the other tests use."""
    (like,) = [server for server in servers.values() if server.url == one_broker_url]
    return Server(like.binary)


def test_a_worker_waits_for_its_broker(cli: Cli, late_server: Server) -> None:
    try:
        worker = cli.start("worker", "--tools", "agent_tools", "--broker", late_server.url)
        worker.wait_for("waiting for the broker, trying again in")
        late_server.start()
        worker.wait_for("is ready")
        assert cli.ok("submit", "add", "a=1", "--wait", "--broker", late_server.url).out == "2\n"
        worker.signal(signal.SIGTERM)
        assert worker.end().code == 0
    finally:
        late_server.close()


def test_a_worker_that_waits_for_its_broker_can_be_stopped(cli: Cli) -> None:
    worker = cli.start("worker", "--tools", "agent_tools", "--broker", "redis://127.0.0.1:1")
    worker.wait_for("waiting for the broker")
    worker.signal(signal.SIGTERM)
    assert worker.end().code == 0


def test_a_broker_that_will_not_do_is_exit_code_4(cli: Cli) -> None:
    url = cli.env["TASKSERVER_BROKER_URL"].replace("unix://", "unix://someone:wrong-secret@")
    done = cli.run("worker", "--tools", "agent_tools", TASKSERVER_BROKER_URL=url)
    assert (done.code, done.out) == (4, "")
    assert "refused the user or password" in done.err


def test_a_job_waits_for_a_worker_that_knows_its_tool(cli: Cli) -> None:
    (cli.folder / "other_tools.py").write_text(
        "from taskserver import tool\n\n\n@tool\ndef other() -> str:\n    return 'here'\n"
    )
    cli.worker("--unknown-tool-wait", "1h")
    job_id = cli.submit("other")
    cli.start("worker", "--tools", "other_tools").wait_for("is ready")
    assert cli.ok("job", "result", job_id).out == "here\n"
