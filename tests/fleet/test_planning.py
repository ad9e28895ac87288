"""The task servers of a configuration file become assignments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskserver.config.file import Config, load
from taskserver.config.settings import settings
from taskserver.errors import ConfigError, ConfigFileInvalid
from taskserver.fleet.planning import plan_server, plan_servers
from taskserver.worker.slots import QueueShare

Loading = Callable[[str], Config]
TOOLS = "  tools: [{module: my_tools}]\n"


@pytest.fixture
def loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loading]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TASKSERVER_HOME", raising=False)
    settings.cache_clear()

    def load_text(text: str) -> Config:
        (tmp_path / "config.yaml").write_text(text)
        return load("config.yaml")

    yield load_text
    settings.cache_clear()


def test_every_key_reaches_the_assignment(loading: Loading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "p@ss")
    config = loading(
        "broker: {url: 'redis://host:1/2', username: me, password: '${PASSWORD}', durability: fsync}\n"
        "task_server:\n  replicas: 3\n  concurrency_per_replica: 2\n  lease: 20\n  grace_period: 1m\n"
        "  unknown_tool_wait: 9\n  max_jobs: 500\n"
        "  max_rss: 1 GiB\n  max_message_bytes: 1 MiB\n  signing_keys: [env:A, file:/b]\n  loglevel: debug\n"
        "  log_format: json\n  metrics_port: 0\n  env: {A: b}\n"
        "  queues: [{name: fast, weight: 3, concurrency: 1}, slow]\n"
        "  tools: [my_tools, {module: tools/more.py}, {module: sql.py, class: Sql}, {module: a.b, class: C, name: d}]\n"
    )
    (made,) = plan_servers(config)
    assignment, worker = made.assignment, made.assignment.worker
    assert (made.replicas, made.broker, made.home) == (3, "redis", None)
    assert assignment.broker_url == made.url == "redis://me:p%40ss@host:1/2"
    assert assignment.modules == (
        "my_tools", f"{config.folder}/tools/more.py", f"{config.folder}/sql.py:Sql", "d=a.b:C"
    )  # fmt: skip
    assert (worker.concurrency, worker.lease, worker.grace_period, worker.unknown_tool_wait) == (2, 20, 60, 9)
    assert (worker.max_message_bytes, worker.signing_keys) == (1024**2, "env:A file:/b")
    assert (worker.max_jobs, worker.max_rss) == (500, 1024**3)
    assert (worker.queues, worker.shares) == (("fast", "slow"), (QueueShare("fast", 3, 1),))
    assert (assignment.loglevel, assignment.log_format, assignment.metrics_port) == ("debug", "json", 0)
    assert assignment.environment == {
        "A": "b",
        "TASKSERVER_BROKER_URL": "redis://me:p%40ss@host:1/2",
        "TASKSERVER_DURABILITY": "fsync",
        "TASKSERVER_MAX_MESSAGE_BYTES": "1048576",
    }


def test_the_environment_fills_in_what_the_file_leaves_open(loading: Loading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKSERVER_CONCURRENCY", "7")
    monkeypatch.setenv("TASKSERVER_QUEUE", "elsewhere")
    monkeypatch.setenv("TASKSERVER_BROKER_URL", "redis://there:1")
    (made,) = plan_servers(loading("task_server:\n  name: a\n"), ("some_tools",))
    assert (made.assignment.worker.concurrency, made.assignment.worker.queues) == (7, ("elsewhere",))
    assert (made.assignment.modules, made.url, made.assignment.broker_url) == (
        ("some_tools",), "redis://there:1", None
    )  # fmt: skip


def test_a_broker_without_url_is_embedded_whatever_the_environment_says(
    loading: Loading, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TASKSERVER_BROKER_URL", "redis://there:1")
    (made,) = plan_servers(loading("broker: {data: ./here}\ntask_server:\n" + TOOLS))
    assert (made.url, made.home, made.assignment.broker_url) == (None, tmp_path / "here", None)
    assert made.assignment.environment == {"TASKSERVER_BROKER_URL": "", "TASKSERVER_HOME": str(tmp_path / "here")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "task_server:\n  name: a\n",
            "config.yaml:1: task_server.tools: is missing: write tools: [{module: my_agent.tools}], or set the "
            "module with --tools or TASKSERVER_TOOLS",
        ),
        (
            "broker: {url: 'http://host'}\ntask_server:\n" + TOOLS,
            "config.yaml:1: broker.url: 'http://host' is not a broker URL: it must start with one of redis://, "
            "rediss://, valkey://, valkeys://, unix://, redis+sentinel://, redis+cluster://",
        ),
        (
            "task_server:\n  replicas: 2\n  metrics_port: 9100\n" + TOOLS,
            "config.yaml:3: task_server.metrics_port: replicas on one machine cannot share a port: use 0 to "
            "give each its own",
        ),
    ],
)
def test_invalid_files(text: str, message: str, loading: Loading) -> None:
    with pytest.raises(ConfigFileInvalid) as caught:
        plan_servers(loading(text))
    assert str(caught.value) == message


def test_a_single_worker_may_have_a_fixed_metrics_port(loading: Loading) -> None:
    config = loading("task_server:\n  metrics_port: 9100\n" + TOOLS)
    assert plan_server(config, config.task_server(None), alone=True).assignment.metrics_port == 9100


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, "config.yaml has several task servers: choose one with --task-server (one, two)"),
        ("tow", "there is no task server 'tow' in config.yaml; did you mean 'two'?"),
    ],
)
def test_one_of_several_task_servers_must_be_named(name: str | None, message: str, loading: Loading) -> None:
    config = loading("task_server: [{name: one}, {name: two}]\n")
    with pytest.raises(ConfigError) as caught:
        config.task_server(name)
    assert str(caught.value) == message
