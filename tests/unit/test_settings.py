"""Settings come from the environment; a value that is not allowed is named with its variable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from taskserver import Client
from taskserver.config.settings import Settings, settings
from taskserver.domain.durability import Durability
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
    with pytest.raises(ConfigError, match=f"^environment variable TASKSERVER_{name}: .*{value[:1]}"):
        getattr(settings(), name.lower())
    with pytest.raises(ConfigError, match=f"TASKSERVER_{name}"):
        dict(settings())
    assert settings().queue == "default"


def test_a_port_that_kubernetes_sets_is_told_as_that_and_only_to_who_serves_metrics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TASKSERVER_METRICS_PORT", "tcp://10.0.0.5:9101")
    Client("redis://host")
    with pytest.raises(ConfigError) as caught:
        _ = settings().metrics_port
    assert str(caught.value) == (
        "environment variable TASKSERVER_METRICS_PORT: Kubernetes set it to 'tcp://10.0.0.5:9101', for a Service "
        "called 'taskserver-metrics': rename the Service, or set enableServiceLinks: false for the pod"
    )


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("QUEUE", "mail", "mail"),
        ("LOGLEVEL", "debug", "debug"),
        ("LOG_FORMAT", "json", "json"),
        ("KEEP_MESSAGES", "true", True),
        ("CONCURRENCY", "7", 7),
        ("LEASE", "1m", 60.0),
        ("MAX_RSS", "2GB", 2_000_000_000),
        ("METRICS_HOST", "::1", "::1"),
        ("METRICS_PORT", "9101", 9101),
        ("DURABILITY", "fsync", Durability(fsync=True)),
        ("METRICS_BUCKETS", "1,2", (1.0, 2.0)),
    ],
)
@pytest.mark.parametrize("form", ["{}\r", "{}\r\n", "\ufeff{}", "\ufeff{}\n"])
def test_what_editors_add_and_nobody_sees_is_dropped(
    name: str, value: str, expected: object, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"TASKSERVER_{name}", form.format(value))
    assert getattr(settings(), name.lower()) == expected
    monkeypatch.setenv(f"TASKSERVER_{name}", form.format(""))
    settings.cache_clear()
    assert getattr(settings(), name.lower()) == Settings.model_fields[name.lower()].default


def test_a_value_that_is_refused_is_shown_with_what_cannot_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKSERVER_LOGLEVEL", "in\rfo")
    with pytest.raises(ConfigError, match=r"not 'in\\rfo'"):
        _ = settings().loglevel


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
        _ = settings().broker_url
    settings.cache_clear()
