"""Files and folders that another user may have put there: refused in one sentence, and nothing is done to them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from taskserver.embedded import EmbeddedBroker, Home, status, stop
from taskserver.errors import ConfigError
from taskserver.files import open_own, replacing
from taskserver.fleet.output import open_log_file
from taskserver.fleet.pidfile import pid_file
from taskserver.fleet.up_state import UpFolder
from taskserver.observability.discovery import write_targets

STRANGER = 65_534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can play another user")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in which a home is looked for."""
    monkeypatch.delenv("TASKSERVER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def of_a_stranger(home: Path) -> None:
    home.mkdir(mode=0o755)
    os.chown(home, STRANGER, STRANGER)


def linked(home: Path) -> None:
    (home.parent / "mine").mkdir(mode=0o700)
    home.symlink_to(home.parent / "mine")


def linked_to_nowhere(home: Path) -> None:
    home.symlink_to(home.parent / "nowhere")


def open_to_others(home: Path) -> None:
    home.mkdir()
    home.chmod(0o777)


def with_foreign_data(home: Path) -> None:
    home.mkdir(mode=0o700)
    of_a_stranger(home / "data")


USES: dict[str, Callable[[], object]] = {
    "a client": EmbeddedBroker.acquire,
    "broker status": status,
    "broker stop": stop,
    "ps": UpFolder.all,
    "up": lambda: UpFolder.of("config.yaml").create(),
    "down": lambda: UpFolder.of("config.yaml").stop(),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("trap", "sentence"),
    [
        pytest.param(of_a_stranger, r"it belongs to another user, with the id 65534", marks=needs_root),
        (linked, r"it is a link"),
        (linked_to_nowhere, r"it is a link"),
        (open_to_others, r"other users can write to it: run chmod go-w"),
    ],
)
def test_a_home_that_is_not_ours_alone_is_refused_by_whoever_finds_it(
    project: Path, trap: Callable[[Path], None], sentence: str, use: str
) -> None:
    trap(project / ".taskserver")
    (project / "src").mkdir()
    os.chdir(project / "src")
    with pytest.raises(ConfigError, match=rf"\.taskserver'.* \({sentence}.*TASKSERVER_HOME"):
        USES[use]()
    assert not (project / "nowhere").exists()
    assert trap is linked_to_nowhere or os.listdir(project / ".taskserver") == []


@needs_root
@pytest.mark.parametrize("use", ["a client", "broker status", "broker stop"])
def test_data_that_another_user_owns_is_refused(project: Path, use: str) -> None:
    with_foreign_data(project / ".taskserver")
    with pytest.raises(ConfigError, match=r"data'.* \(it belongs to another user"):
        USES[use]()


def test_a_named_home_may_be_reached_by_a_link_of_ones_own(project: Path) -> None:
    linked(project / "home")
    assert Home.locate(project / "home").create().root == project / "mine"


@needs_root
def test_a_named_home_is_not_reached_by_a_link_of_somebody_else(project: Path) -> None:
    linked(project / "home")
    os.chown(project / "home", STRANGER, STRANGER, follow_symlinks=False)
    with pytest.raises(ConfigError, match="it is a link"):
        Home.locate(project / "home").create()
    assert os.listdir(project / "mine") == []


def by_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def by_another_name(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


def in_the_hands_of_a_stranger(path: Path, victim: Path) -> None:
    path.write_text("")
    os.chown(path, STRANGER, STRANGER)


def by_a_pipe(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def take_pid_file(path: Path) -> None:
    with pid_file(str(path)):
        raise AssertionError("it was taken")


def start_broker(path: Path) -> None:
    EmbeddedBroker.acquire(path.parent)


TAKERS: dict[str, Callable[[Path], object]] = {
    "worker.pid": take_pid_file,
    "worker.log": lambda path: open_log_file(str(path)),
    "broker.log": start_broker,
    "users.lock": start_broker,
    "keeper.lock": start_broker,
}


@pytest.mark.parametrize("name", TAKERS)
@pytest.mark.parametrize(
    ("trap", "sentence"),
    [
        (by_link, "it is a link"),
        (by_another_name, "the file has another name too"),
        pytest.param(in_the_hands_of_a_stranger, "it belongs to another user", marks=needs_root),
        (by_a_pipe, "No such device or address|it is not a regular file"),
    ],
)
def test_a_file_that_may_be_anothers_is_neither_written_nor_truncated(
    tmp_path: Path, name: str, trap: Callable[[Path, Path], None], sentence: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o640)
    (folder := tmp_path / "folder").mkdir(mode=0o700)
    trap(folder / name, victim)
    with pytest.raises(ConfigError, match=sentence) as caught:
        TAKERS[name](folder / name)
    assert str(folder / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (victim.read_text(), victim.stat().st_mode & 0o777) == ("precious", 0o640)


def test_a_file_of_ours_is_closed_to_others_and_keeps_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    path.write_text("before\n")
    path.chmod(0o666)
    with open(open_own(path, os.O_WRONLY | os.O_APPEND), "a") as file:
        file.write("after\n")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("before\nafter\n", 0o644)


def test_a_log_may_go_nowhere() -> None:
    open_log_file(os.devnull).close()


def test_a_file_that_is_replaced_is_never_written_through_a_link(tmp_path: Path) -> None:
    (victim := tmp_path / "victim").write_text("precious")
    (tmp_path / "targets.json").symlink_to(victim)
    write_targets(tmp_path / "targets.json", {})
    (tmp_path / "state.json").symlink_to(victim)
    with replacing(tmp_path / "state.json") as file:
        file.write("new")
    assert victim.read_text() == "precious"


SERVE = """
import os, socket, sys
with socket.socket(socket.AF_UNIX) as door:
    door.bind(sys.argv[1])
    os.setuid(int(sys.argv[2]))
    door.listen()
    print("listening", flush=True)
    while True:
        link, _ = door.accept()
        link.recv(100)
        link.sendall(b"+PONG\\r\\n")
"""


@needs_root
@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="this system does not tell who listens at a socket")
def test_a_server_of_another_user_at_the_socket_is_not_the_broker(tmp_path: Path) -> None:
    home = Home.locate(tmp_path / "home").create()
    command = [sys.executable, "-I", "-S", "-c", SERVE, str(home.socket), str(STRANGER)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"listening\n"
            with pytest.raises(ConfigError, match=r"broker.sock' runs as another user, with the id 65534: remove"):
                status(home.root)
        finally:
            server.kill()
