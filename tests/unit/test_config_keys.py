"""Signing keys are named by reference, and never shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from taskserver import Client, ConfigError, Toolbox, Worker, WorkerConfig
from taskserver.config.keys import keyring
from taskserver.config.settings import settings
from taskserver.domain.signing import Keyring
from taskserver.store.broker.connection import Broker

KEY = "3f" * 32
JOB = "0" * 24


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("TASKSERVER_SIGNING_KEYS", raising=False)
    settings.cache_clear()
    yield
    settings.cache_clear()


def made_with(key: str) -> bytes:
    return Keyring([key.encode()]).seal("q", JOB, b"", 0)


def test_a_key_in_a_file_or_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    monkeypatch.setenv("A_KEY", "4f" * 32)
    ring = keyring(f"file:{tmp_path}/key, env:A_KEY")
    assert ring is not None
    assert ring.seal("q", JOB, b"", 0) == made_with(KEY)
    assert ring.open("q", JOB, Keyring([b"4f" * 32]).seal("q", JOB, b"\x90", 0) + b"\x90", None) == b"\x90"


def test_the_setting_holds_for_clients_and_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    monkeypatch.setenv("TASKSERVER_SIGNING_KEYS", "env:A_KEY")
    monkeypatch.setenv("TASKSERVER_SIGNATURE_TTL", "60")
    ring = Client("redis://localhost").keyring
    assert ring is not None
    assert ring.seal("q", JOB, b"", 0)[1:9] == (60_000).to_bytes(8, "big")
    assert Client("redis://localhost", signing_keys="").keyring is None


def test_without_the_setting_there_is_none() -> None:
    assert keyring() is None
    assert Client("redis://localhost").keyring is None


async def test_a_worker_does_not_start_without_the_key_that_it_was_told_of(tmp_path: Path) -> None:
    broker = Broker("redis://localhost")
    with pytest.raises(ConfigError, match=f"signing key 1 .* file {tmp_path}/none cannot be read: no such file"):
        Worker(broker, Toolbox.of(), WorkerConfig(signing_keys=f"file:{tmp_path}/none"))
    await broker.close()


@pytest.mark.parametrize(
    ("references", "sentence"),
    [
        (
            KEY,
            r"^signing key 1 \(TASKSERVER_SIGNING_KEYS\) must be a reference: write file:/",
        ),
        (f"env:A_KEY {KEY}", "^signing key 2 .* must be a reference"),
        (f"env:{KEY[1:]}!", "must be a reference"),
        (f"hex:{KEY}", "must be a reference"),
        ("env:NO_SUCH_VARIABLE", "environment variable NO_SUCH_VARIABLE is not set"),
        ("env:SHORT", "at env:SHORT has 5 bytes; it must have at least 32: create one with openssl rand -hex 32"),
        ("file:/", "file / cannot be read: is a directory"),
    ],
)
def test_what_cannot_work_is_refused_with_the_remedy_and_without_the_secret(
    references: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    monkeypatch.setenv("SHORT", "short")
    with pytest.raises(ConfigError, match=sentence) as caught:
        keyring(references)
    assert KEY[1:] not in str(caught.value)


def test_a_key_that_was_put_into_the_setting_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKSERVER_SIGNING_KEYS", KEY)
    assert KEY not in repr(settings())
