"""Errors about a broker are one sentence, without secrets."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from taskserver import BrokerUnavailable, Client, ConfigError, SyncClient
from taskserver.config.settings import settings
from taskserver.errors import BrokerDenied


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Unanswered calls are repeated only briefly."""
    monkeypatch.setenv("TASKSERVER_PATIENCE", "0.1")
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://localhost", "must start with one of redis://, rediss://, valkey://, valkeys://, unix://"),
        ("localhost:6379", "is not a broker URL"),
        ("redis://localhost:port", "the port must be a number"),
        ("unix://", "write unix:///path/to/socket"),
        ("", "is not a broker URL"),
    ],
)
def test_an_invalid_url(url: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Client(url)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("url", ["http://me:secret@localhost", "redis://me:secret@localhost:port"])
def test_an_error_about_a_url_does_not_contain_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Client(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("secret", ["secret", ""])
async def test_a_wrong_password(one_broker_url: str, secret: str) -> None:
    with redis.Redis.from_url(one_broker_url) as admin:
        admin.execute_command("ACL SETUSER somebody on >right ~* &* +@all")
    url = one_broker_url.replace("unix://", f"unix://somebody:{secret or 'x'}@")
    async with Client(url) as client:
        with pytest.raises(BrokerDenied, match="refused the user or password: check the broker URL") as caught:
            await client.submit("anything")
    assert "secret" not in str(caught.value)


async def test_a_user_that_may_not_run_scripts(one_broker_url: str) -> None:
    with redis.Redis.from_url(one_broker_url) as admin:
        admin.execute_command("ACL SETUSER reader on >right ~* &* +@read")
    async with Client(one_broker_url.replace("unix://", "unix://reader:right@")) as client:
        with pytest.raises(BrokerDenied, match="may not do this"):
            await client.submit("anything")


async def test_no_broker_at_the_url(tmp_path: Path) -> None:
    async with Client(f"unix://{tmp_path}/nobody") as client:
        with pytest.raises(BrokerUnavailable) as caught:
            await client.submit("anything")
    assert str(caught.value).startswith(f"the broker at unix://{tmp_path}/nobody does not answer: ")
    assert "\n" not in str(caught.value)


def test_a_sync_client_without_a_broker_at_its_url() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with SyncClient(f"redis://:secret@127.0.0.1:{port}") as client, pytest.raises(BrokerUnavailable) as caught:
        client.submit("anything")
    assert "secret" not in str(caught.value)


async def test_a_handle_needs_a_connected_client(one_broker_url: str) -> None:
    with pytest.raises(RuntimeError, match="connect first"):
        Client(one_broker_url).job("default-" + "0" * 24)


async def test_closing_twice_is_harmless(one_broker_url: str) -> None:
    client = Client(one_broker_url)
    await client.close()
    await client.connect()
    await client.close()
    await client.close()
