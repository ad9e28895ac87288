"""The keeper's server process: how it is stopped."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event

import pytest

from taskserver.embedded import keeper
from tests.patience import PATIENCE


def test_a_server_that_has_ended_gets_no_signal_since_its_pid_may_be_reused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reaped, go_on = Event(), Event()

    def hold_its_thread() -> None:
        reaped.set()
        go_on.wait(PATIENCE)

    def no_signal(pid: int, number: int) -> None:
        raise AssertionError(f"signal {number} was sent to {pid}")

    server = keeper.Server(str(tmp_path / "socket"), str(tmp_path / "lock"), ["/bin/sh", "-c", "exit 3"])
    server.start(hold_its_thread)
    assert reaped.wait(PATIENCE)
    monkeypatch.setattr(os, "kill", no_signal)
    monkeypatch.setattr(keeper, "STOP_SECONDS", 0.01)
    server.stop()
    go_on.set()
    assert server.exit_code == 3


def test_a_server_that_ignores_its_signal_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, ready = Event(), tmp_path / "ready"
    os.mkfifo(ready)
    command = ["/bin/sh", "-c", f"trap '' TERM; echo > {ready}; while :; do sleep 0.1; done"]
    server = keeper.Server(str(tmp_path / "socket"), str(tmp_path / "lock"), command)
    server.start(ended.set)
    ready.read_text()
    monkeypatch.setattr(keeper, "STOP_SECONDS", 0.5)
    server.stop()
    assert ended.wait(PATIENCE)
    assert server.exit_code == -9
