"""Settings come from the environment; a value that is not allowed is named with its variable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from taskserver.config.settings import Settings, settings
from taskserver.errors import ConfigError


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_a_variable_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKSERVER_CONCURRENCY", "7")
    assert settings().concurrency == 7


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKSERVER_BROKER_URL", "")
    monkeypatch.setenv("TASKSERVER_CONCURRENCY", "")
    assert (settings().broker_url, settings().concurrency) == (None, 4)


@pytest.mark.parametrize(
    ("name", "value"),
    [("CONCURRENCY", "0"), ("LEASE", "soon"), ("LOGLEVEL", "loud"), ("MAX_MESSAGE_BYTES", "9999999999")],
)
def test_a_value_that_cannot_be_used_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"TASKSERVER_{name}", value)
    with pytest.raises(ConfigError, match=f"^environment variable TASKSERVER_{name}: "):
        settings()


def test_the_brokers_url_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKSERVER_BROKER_URL", "redis://user:hidden@host:1/0")
    assert "hidden" not in repr(settings())


def test_the_broker_may_contain_references(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p4ss\n")
    monkeypatch.setenv("HOST", "broker.example")
    monkeypatch.setenv("TASKSERVER_BROKER_URL", f"redis://:${{file:{tmp_path}/password}}@${{HOST}}:6379")
    url = Settings().broker_url
    assert url is not None
    assert url.get_secret_value() == "redis://:p4ss@broker.example:6379"


def test_a_reference_to_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKSERVER_BROKER_URL", "redis://${NOT_THERE}:6379")
    settings.cache_clear()
    with pytest.raises(ConfigError, match=r"TASKSERVER_BROKER_URL: .*NOT_THERE"):
        settings()
    settings.cache_clear()
