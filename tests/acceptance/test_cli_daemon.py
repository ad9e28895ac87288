"""``taskserver worker --daemon``: a worker in the background, without a service manager."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from taskserver import ConfigError
from taskserver.cli.main import run
from taskserver.fleet.pidfile import pid_file as hold
from tests.acceptance.cli import Cli, Done
from tests.acceptance.fleet import eventually, until, workers


@pytest.fixture
def pid_file(cli: Cli) -> Iterator[Path]:
    """A daemon's PID file; processes that are left at the end are killed."""
    path = cli.folder / "worker.pid"
    yield path
    for each in workers(cli):
        psutil.Process(each.pid).kill()
    if path.exists():
        family = psutil.Process(int(path.read_text()))
        family.kill()


def daemon(cli: Cli, *options: str, tools: str = "agent_tools") -> Done:
    log = str(cli.folder / "worker.log")
    return cli.run("worker", "--tools", tools, "--daemon", "--lease", "1", "--log-file", log, *options)


def test_it_returns_when_it_is_ready_and_stops_over_the_broker(cli: Cli, pid_file: Path) -> None:
    started = daemon(cli, "--pid-file", str(pid_file))
    assert (started.code, started.out) == (0, "")
    pid = int(pid_file.read_text())
    assert f"is ready (process {pid}) and logs to" in started.err
    assert os.getsid(pid) == pid
    (only,) = workers(cli)
    second = daemon(cli, "--pid-file", str(pid_file))
    assert second.code == 2
    assert f"with the PID file {pid_file} is already running (process {pid})" in second.err
    assert [each.name for each in workers(cli)] == [only.name]
    os.kill(only.pid, signal.SIGKILL)  # its supervisor must replace it: there is no service manager
    until(cli, lambda there: any(each.name != only.name for each in there))
    cli.ok("worker", "stop", "--all")
    eventually(lambda: not psutil.pid_exists(pid))
    assert not pid_file.exists()


def test_sigusr1_reopens_the_log(cli: Cli, pid_file: Path) -> None:
    assert daemon(cli, "--pid-file", str(pid_file)).code == 0
    log, old = cli.folder / "worker.log", cli.folder / "worker.log.1"
    log.rename(old)
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGUSR1)
    eventually(log.exists)
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not psutil.pid_exists(pid))
    assert "is ready" in old.read_text()
    assert "has stopped" not in old.read_text()
    assert "supervisor" in log.read_text()
    assert "info     worker " in log.read_text()


def test_a_pid_file_that_a_killed_daemon_left_is_taken_over(cli: Cli, pid_file: Path) -> None:
    assert daemon(cli, "--pid-file", str(pid_file)).code == 0
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    until(cli, lambda there: not there)  # its replica has exited by itself
    assert daemon(cli, "--pid-file", str(pid_file)).code == 0
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not psutil.pid_exists(pid))


def test_a_failed_start_is_reported_and_leaves_nothing(cli: Cli, pid_file: Path) -> None:
    (cli.folder / "broken.py").write_text("1 / 0\n")
    done = daemon(cli, "--pid-file", str(pid_file), tools="broken")
    assert (done.code, done.err.count("ZeroDivisionError")) == (2, 1)
    assert not pid_file.exists()
    done = daemon(cli, "--pid-file", str(pid_file), "--broker", "redis://127.0.0.1:1")
    assert (done.code, "does not answer" in done.err) == (4, True)
    assert workers(cli) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--daemon",), "--daemon requires --log-file"),
        (("--pid-file", "x"), "--pid-file and --log-file require --daemon"),
        (("--replicas", "0"), "replicas must be between 1 and 1000, not 0"),
        (("--replicas", "-1", "--daemon"), "replicas must be between 1 and 1000, not -1"),
    ],
)
def test_invalid_options(options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worker", "--tools", "nothing_is_loaded", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_pid_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot write the PID file"), hold(str(tmp_path / "no" / "where")):
        pass
