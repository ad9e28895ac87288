"""Passwords with special characters, in every form of URL, escaped and by reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from taskserver.config.file import load
from taskserver.config.settings import Settings
from taskserver.errors import BrokerDenied
from taskserver.fleet.planning import url_of
from taskserver.store.broker.connection import Broker
from tests.brokers import kinds
from tests.faults.topologies import TcpServer, cluster

PASSWORD = "a#/?@%:,+& ü"
ESCAPED = quote(PASSWORD, safe="")


@pytest.fixture(scope="module")
def locked() -> Iterator[TcpServer]:
    """A server with that password."""
    server = TcpServer(kinds()[max(kinds())]).start()
    with server.direct as client:
        client.config_set("requirepass", PASSWORD)
    yield server
    server.close()


def from_environment(url: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASKSERVER_BROKER_URL", url)
        found = Settings().broker_url
    assert found is not None
    return found.get_secret_value()


def from_file(url: str) -> str:
    Path("config.yaml").write_text(f"broker: {{url: '{url}'}}\ntask_server: {{tools: x}}\n")
    config = load("config.yaml")
    found = url_of(config, config.brokers[0])
    assert found is not None
    return found


def from_keys(url: str) -> str:
    bare = url.replace(":${PW}@", "").replace("?password=${PW}", "").replace("&password=${PW}", "")
    Path("config.yaml").write_text(f"broker: {{url: '{bare}', password: '${{PW}}'}}\ntask_server: {{tools: x}}\n")
    config = load("config.yaml")
    found = url_of(config, config.brokers[0])
    assert found is not None
    return found


FORMS = [
    "redis://:{}@127.0.0.1:{port}",
    "redis://127.0.0.1:{port}?password={}",
    "redis://127.0.0.1:{port}/1?client_name=me&password={}",
    "unix://:{}@{socket}",
    "unix://{socket}?password={}",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("password", "read"),
    [
        (ESCAPED, str),
        ("${PW}", from_environment),
        ("${file:pw.txt}", from_environment),
        ("${PW}", from_file),
        ("${file:pw.txt}", from_file),
        ("${PW}", from_keys),
    ],
)
async def test_a_password_arrives_as_it_is(
    locked: TcpServer,
    form: str,
    password: str,
    read: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PW", PASSWORD)
    Path("pw.txt").write_text(f"{PASSWORD}\n", "utf-8")
    broker = Broker(read(form.format(password, port=locked.port, socket=locked.socket)), patience=0)
    await broker.check_schema()
    await broker.close()
    wrong = Broker(form.format("x", port=locked.port, socket=locked.socket), patience=0)
    with pytest.raises(BrokerDenied):
        await wrong.check_schema()
    await wrong.close()


def test_only_options_of_brokers_are_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPTIONS", "db=1&client_name=me")
    monkeypatch.setenv("PAGE", "a%20b&c")
    Path("config.yaml").write_text(
        "broker: {url: 'redis://h?${OPTIONS}'}\n"
        "task_server: {tools: x, env: {PAGE: 'https://h/?page=${PAGE}'}}\n"
    )  # fmt: skip
    config = load("config.yaml")
    assert config.brokers[0].url == "redis://h?db=1&client_name=me"
    assert config.task_servers[0].env == {"PAGE": "https://h/?page=a%20b&c"}


async def test_a_password_of_a_cluster_may_hold_a_number_sign() -> None:
    with cluster(kinds()[max(kinds())], "--user", "app", "on", ">se#cret", "~*", "&*", "+@all") as nodes:
        broker = Broker(nodes.url.replace("://", "://app:se#cret@"))
        await broker.check_schema()
        await broker.close()
