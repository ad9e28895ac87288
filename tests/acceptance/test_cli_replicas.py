"""``taskserver worker --replicas N``: real processes that are killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.acceptance.cli import COMMAND, Cli
from tests.acceptance.fleet import call, eventually, holding, replicas, result, runner, state, until, workers


def test_a_killed_replica_is_replaced_and_its_job_done_by_another(cli: Cli) -> None:
    supervisor = replicas(cli, 4, "-c", "2")
    job_id = holding(cli)
    victim = runner(cli, job_id)
    os.kill(victim.pid, signal.SIGKILL)
    cli.open_gate()
    line = supervisor.wait_for("starting another in")
    assert f"replica {victim.replica} (pid {victim.pid}) exited: SIGKILL: killed, perhaps because" in line
    done = str(result(cli, job_id))
    assert done.startswith("attempt 2 in ")
    assert not done.endswith(f" {victim.pid}")
    there = until(cli, lambda there: {w.replica for w in there if w.pid != victim.pid} == {1, 2, 3, 4})
    assert all(w.slots == 2 for w in there)


def test_sigterm_drains_every_replica(cli: Cli) -> None:
    supervisor = replicas(cli, 2, "-c", "1")
    jobs = [holding(cli), holding(cli)]
    supervisor.signal(signal.SIGTERM)
    supervisor.wait_for("is stopping; running jobs: 1", times=2)
    cli.open_gate()
    done = supervisor.end()
    assert done.code == 0
    assert [state(cli, job) for job in jobs] == [("succeeded", 1)] * 2
    assert workers(cli) == []


def test_a_second_signal_does_not_wait(cli: Cli) -> None:
    supervisor = replicas(cli, 2, "--grace-period", "1h")
    job_id = holding(cli)
    supervisor.signal(signal.SIGINT)
    supervisor.wait_for("is stopping; running jobs: 1")
    supervisor.signal(signal.SIGINT)
    assert supervisor.end().code == 0
    assert state(cli, job_id) == ("queued", 0)


def test_a_signal_to_all_its_processes_at_once_is_one_signal(cli: Cli) -> None:
    supervisor = replicas(cli, 2, "--grace-period", "1h")
    job_id = holding(cli)
    os.killpg(supervisor.pid, signal.SIGTERM)
    supervisor.wait_for("is stopping; running jobs: 1")
    supervisor.wait_for("is stopping: draining")
    cli.open_gate()
    assert supervisor.end().code == 0
    assert state(cli, job_id) == ("succeeded", 1)


def test_replicas_of_a_dead_supervisor_drain_and_end(cli: Cli) -> None:
    supervisor = replicas(cli, 2)
    pids = [each.pid for each in workers(cli)]
    job_id = holding(cli)
    supervisor.signal(signal.SIGKILL)
    supervisor.wait_for("is stopping; running jobs: 1")
    cli.open_gate()
    eventually(lambda: not any(map(psutil.pid_exists, pids)))
    assert supervisor.end().code == -signal.SIGKILL
    assert state(cli, job_id) == ("succeeded", 1)


def test_a_replica_that_is_stopped_without_its_supervisor_is_replaced_at_once(cli: Cli) -> None:
    supervisor = replicas(cli, 2)
    first = workers(cli)[0]
    os.kill(first.pid, signal.SIGTERM)
    supervisor.wait_for(f"(pid {first.pid}) is stopping by itself; starting another")
    until(cli, lambda there: sorted(w.replica or 0 for w in there if w.pid != first.pid) == [1, 2])


def test_tools_that_cannot_be_imported_are_one_error_and_nothing_is_left(cli: Cli) -> None:
    (cli.folder / "broken.py").write_text("import nothing_of_this_name\n")
    done = cli.run("worker", "--tools", "broken", "--replicas", "3")  # ends when all have closed its stderr
    assert (done.code, done.out) == (2, "")
    assert done.err.count("Traceback") == 1
    assert done.err.startswith("taskserver: module 'broken' failed to import:")
    assert "No module named 'nothing_of_this_name'" in done.err


def test_an_unsuitable_broker_is_one_error(cli: Cli) -> None:
    url = cli.env["TASKSERVER_BROKER_URL"].replace("unix://", "unix://someone:wrong-secret@")
    done = cli.run("worker", "--tools", "agent_tools", "-r", "2", TASKSERVER_BROKER_URL=url)
    assert (done.code, done.err.count("refused the user or password")) == (4, 1)


def test_no_secret_is_in_a_command_line_or_an_environment(cli: Cli) -> None:
    supervisor = replicas(cli, 1, "--reload", "--broker", cli.env["TASKSERVER_BROKER_URL"] + "?client_name=hush-hush")
    (replica,) = psutil.Process(supervisor.pid).children()
    assert replica.cmdline()[-1] == "worker/1"
    assert "hush-hush" not in str(replica.cmdline()) + str(replica.environ())


@pytest.mark.parametrize(
    ("options", "count", "children"), [(["--replicas", "2"], 2, 2), ([], 1, 1)], ids=["supervised", "alone"]
)
def test_as_process_1_it_reaps_orphans_and_stops_at_sigterm(
    cli: Cli, tmp_path: Path, options: list[str], count: int, children: int
) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0:
        pytest.skip("it takes root and unshare(1) to give a supervisor process id 1")
    (cli.folder / "orphans.py").write_text(
        "import subprocess\nfrom taskserver import tool\n\n\n"
        "@tool\ndef leave() -> None:\n    subprocess.run(['sh', '-c', '(sleep 0.1; exit 3) & sleep 0.1 &'])\n\n\n"
        "@tool\ndef codes() -> list[int]:\n"
        "    return [subprocess.run(['sh', '-c', f'exit {n}']).returncode for n in range(20)]\n"
    )
    log = (tmp_path / "log").open("wb")
    command = [*COMMAND, "worker", "--tools", "orphans", *options, "--lease", "1"]
    outer = subprocess.Popen(
        [unshare, "--pid", "--fork", "--kill-child", *command], cwd=cli.folder, env=cli.env, stderr=log
    )
    try:
        until(cli, lambda there: len(there) == count)
        (first,) = psutil.Process(outer.pid).children()
        call(cli, "leave")
        eventually(lambda: len(first.children()) == children)
        assert call(cli, "codes") == list(range(20)), "no exit code is taken from a tool"
        first.send_signal(signal.SIGTERM)
        assert outer.wait(30) == 0
    finally:
        outer.kill()
        outer.wait()
        log.close()
    assert workers(cli) == []


@pytest.mark.parametrize("options", [(), ("--replicas", "2")], ids=["alone", "supervised"])
def test_a_service_manager_is_notified(cli: Cli, tmp_path: Path, options: tuple[str, ...]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        worker = cli.start("worker", "--tools", "agent_tools", *options, **env)
        assert manager.recv(100) == f"READY=1\nMAINPID={worker.pid}".encode()
        assert manager.recv(100) == b"WATCHDOG=1"
        worker.signal(signal.SIGTERM)
        while (message := manager.recv(100)) == b"WATCHDOG=1":
            continue
        assert message == b"STOPPING=1"
        assert worker.end().code == 0


def test_sighup_replaces_every_replica(cli: Cli) -> None:
    supervisor = replicas(cli, 2)
    before = {each.pid for each in workers(cli)}
    supervisor.signal(signal.SIGHUP)
    until(cli, lambda there: len(there) == 2 and before.isdisjoint(w.pid for w in there))
    supervisor.signal(signal.SIGTERM)
    assert supervisor.end().code == 0


def test_reload_follows_the_source_and_survives_a_syntax_error(cli: Cli) -> None:
    source = cli.folder / "changing.py"
    source.write_text("from taskserver import tool\n\n\n@tool\ndef answer() -> int:\n    return 1\n")
    supervisor = replicas(cli, 1, "--reload", tools="changing")
    assert call(cli, "answer") == 1
    source.write_text("def broken(:\n")
    supervisor.wait_for("changing.py changed")
    supervisor.wait_for("SyntaxError")
    supervisor.wait_for("the current replicas keep running")
    assert call(cli, "answer") == 1
    source.write_text("from taskserver import tool\n\n\n@tool\ndef answer() -> int:\n    return 22\n")
    supervisor.wait_for("has stopped")  # the old one: until then, it may take the job
    assert call(cli, "answer") == 22


def test_reload_waits_for_code_that_is_broken_from_the_start(cli: Cli) -> None:
    source = cli.folder / "changing.py"
    source.write_text("def broken(:\n")
    supervisor = cli.start("worker", "--tools", "changing", "--reload")
    supervisor.wait_for("SyntaxError")
    source.write_text("from taskserver import tool\n\n\n@tool\ndef answer() -> int:\n    return 333\n")
    supervisor.wait_for("is ready: 1 replica ")
    assert call(cli, "answer") == 333
