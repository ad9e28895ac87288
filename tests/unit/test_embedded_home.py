from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskserver.embedded import Home, status, stop
from taskserver.embedded import home as home_module
from taskserver.embedded.home import SOCKET_PATH_LIMIT
from taskserver.errors import ConfigError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, three levels below anything that could mark a project."""
    monkeypatch.delenv("TASKSERVER_HOME", raising=False)
    here = tmp_path / "project" / "src" / "deep"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    return tmp_path / "project"


def long_folder(tmp_path: Path) -> Path:
    return tmp_path / ("long" * 30) / "home"


@pytest.mark.parametrize("mark", ["pyproject.toml", ".git", ".taskserver"])
def test_home_is_beside_the_mark_of_the_project(project: Path, mark: str) -> None:
    (project / mark).mkdir()
    assert Home.locate().root == project / ".taskserver"


def test_nearest_mark_wins(project: Path) -> None:
    (project / ".taskserver").mkdir()
    (project / "src" / "pyproject.toml").touch()
    assert Home.locate().root == project / "src" / ".taskserver"


def test_without_any_mark_home_is_in_the_current_folder(project: Path) -> None:
    assert Home.locate().root == Path.cwd() / ".taskserver"


def test_variable_decides_over_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKSERVER_HOME", "elsewhere")
    assert Home.locate().root == Path.cwd() / "elsewhere"


def test_argument_decides_over_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKSERVER_HOME", "/elsewhere")
    assert Home.locate(tmp_path).root == tmp_path


def test_created_folder_is_private_and_ignored_by_git(tmp_path: Path) -> None:
    home = Home.locate(tmp_path / "home").create()
    assert home.root.stat().st_mode & 0o777 == 0o700
    assert home.data.is_dir()
    assert (home.root / ".gitignore").read_text() == "*\n"


def test_create_is_repeatable(tmp_path: Path) -> None:
    home = Home.locate(tmp_path / "home").create()
    assert home.create() is home


def test_folder_that_cannot_be_created_is_named_with_what_to_change(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file/home.*TASKSERVER_HOME"):
        Home.locate(tmp_path / "file" / "home").create()


def test_url_quotes_what_a_url_cannot_hold() -> None:
    assert Home(Path("/a b/#1")).url == "unix:///a%20b/%231/broker.sock"


def test_short_home_holds_its_socket() -> None:
    assert Home(Path("/work")).socket == Path("/work/broker.sock")


def test_long_home_has_a_short_socket_of_its_own(tmp_path: Path) -> None:
    home, other = Home(long_folder(tmp_path)), Home(long_folder(tmp_path) / "other")
    assert len(os.fsencode(home.socket)) <= SOCKET_PATH_LIMIT
    assert home.socket == Home(home.root).socket != other.socket


def test_limit_counts_bytes_not_characters() -> None:
    assert Home(Path("/" + "ä" * 60)).socket.parent != Path("/" + "ä" * 60)


def test_short_folder_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home_module, "_SHORT_FOLDER", str(tmp_path / "short-{uid}"))
    home = Home.locate(long_folder(tmp_path)).create()
    assert home.socket.parent == tmp_path / f"short-{os.geteuid()}"
    assert home.socket.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("trap", ["open", "link", "file"])
def test_short_folder_that_is_not_private_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: str
) -> None:
    short = tmp_path / "short"
    if trap == "open":
        short.mkdir()
        short.chmod(0o777)
    elif trap == "link":
        (tmp_path / "target").mkdir(mode=0o700)
        short.symlink_to(tmp_path / "target")
    else:
        short.touch(mode=0o700)
    monkeypatch.setattr(home_module, "_SHORT_FOLDER", str(short))
    with pytest.raises(ConfigError, match=r"short'.*not private to this user.*TASKSERVER_HOME"):
        Home.locate(long_folder(tmp_path)).create()


def test_looking_at_a_home_that_was_never_used_creates_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    found = status(folder)
    assert (found.running, found.pid, found.users, found.stays, found.data_bytes) == (
        False,
        None,
        False,
        False,
        0,
    )
    assert not stop(folder)
    assert not folder.exists()
