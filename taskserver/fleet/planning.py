"""From a configuration file to the assignments of its task servers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from taskserver.config.document import Path as KeyPath
from taskserver.config.file import Config
from taskserver.config.problems import NO_TOOLS, invalid
from taskserver.config.resources import BrokerResource, TaskServer, ToolSource
from taskserver.config.settings import settings
from taskserver.config.texts import variable
from taskserver.embedded import Home
from taskserver.embedded.home import HOME_VARIABLE
from taskserver.errors import ConfigError, ConfigFileInvalid, Problem
from taskserver.fleet.assignment import Assignment
from taskserver.store.broker.urls import parse_url
from taskserver.worker.config import WorkerConfig
from taskserver.worker.slots import QueueShare


class ServerPlan(NamedTuple):
    """How to run one task server of a file.

    Attributes:
        assignment: What each replica is to do.
        replicas: How many replicas it has.
        broker: The name of its broker in the file; '' for the broker of the environment.
        url: The broker's URL; None for the embedded broker.
        home: The folder of the embedded broker; None for any other.
        metrics_targets: File that tells Prometheus where the replicas' metrics are; empty for none.
    """

    assignment: Assignment
    replicas: int
    broker: str
    url: str | None
    home: Path | None
    metrics_targets: str = ""

    @property
    def name(self) -> str:
        """The task server's name."""
        return self.assignment.task_server


def plan_server(
    config: Config, server: TaskServer, modules: tuple[str, ...] = (), *, alone: bool = False
) -> ServerPlan:
    """Plan a task server of the file; what the file leaves open comes from the environment, else is the default.

    Args:
        config: The file.
        server: One of its task servers.
        modules: Tools for one that names none.
        alone: Whether a single replica runs without a supervisor: no other process will need its port.

    Raises:
        ConfigFileInvalid: if there are no tools, or the broker's URL is not valid.
    """
    if server.metrics_port and not (alone and server.replicas == 1):
        key = ("task_server", config.task_servers.index(server), "metrics_port")
        raise config.error_at(key, "replicas on one machine cannot share a port: use 0 to give each its own")
    broker = config.broker_of(server)
    url = url_of(config, broker)
    home = None if url else home_of(config, broker)
    targets = _targets(config, server)
    assignment = Assignment(
        modules=_modules(config, server, modules),
        worker=_worker(server),
        task_server=server.name,
        broker_url=url if broker is not None else None,
        environment=_environment(server, broker, url, home),
    )
    assignment = assignment.with_settings(dict(settings()) | server.overrides)
    if targets and assignment.metrics_port is None:
        assignment = msgspec.structs.replace(assignment, metrics_port=0)
    return ServerPlan(assignment, server.replicas, broker.name if broker else "", url, home, targets)


def plan_servers(config: Config, modules: tuple[str, ...] = ()) -> list[ServerPlan]:
    """Plan all task servers of the file.

    Raises:
        ConfigFileInvalid: with everything that is wrong.
    """
    plans: list[ServerPlan] = []
    problems: list[Problem] = []
    for server in config.task_servers:
        try:
            plans.append(plan_server(config, server, modules))
        except ConfigFileInvalid as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise invalid(config.file, problems)
    return plans


def home_of(config: Config, broker: BrokerResource | None = None) -> Path:
    """The folder of an embedded broker: the one in the file, else the one that every command uses here."""
    if broker is None or not broker.data:
        return Home.locate().root
    return Home.locate(config.folder / Path(broker.data).expanduser()).root


def url_of(config: Config, broker: BrokerResource | None) -> str | None:
    """The URL of a broker, with user and password; None for the embedded one.

    Args:
        config: The file.
        broker: One of its brokers; None for the broker of the environment.

    Raises:
        ConfigFileInvalid: if it is not valid.
    """
    if broker is None:
        known = settings().broker_url
        return known.get_secret_value() if known else None
    if broker.url is None:
        return None
    scheme, separator, rest = broker.url.partition("://")
    if broker.password:
        login = f"{quote(broker.username or '', safe='')}:{quote(broker.password, safe='')}@"
        rest = login + re.sub(r"^[^/?]*@", "", rest)  # in place of a login that a reference brought along
    url = f"{scheme}{separator}{rest}"
    try:
        parse_url(url)
    except ConfigError as error:
        raise config.error_at(("broker", config.brokers.index(broker), "url"), str(error)) from None
    return url


def check_brokers(config: Config) -> None:
    """Check the URLs of all brokers.

    Raises:
        ConfigFileInvalid: if one is not valid.
    """
    for broker in config.brokers:
        url_of(config, broker)


def _environment(
    server: TaskServer, broker: BrokerResource | None, url: str | None, home: Path | None
) -> dict[str, str]:
    """Variables for the replicas, so that what their tools submit goes to the same broker by the same rules."""
    variables = dict(server.env)
    if broker is not None:
        variables[variable("broker_url")] = url or ""  # an empty variable means no URL
        if home is not None:
            variables[HOME_VARIABLE] = str(home)
        if broker.durability is not None:
            variables[variable("durability")] = str(broker.durability)
    if "max_message_bytes" in server.overrides:
        variables[variable("max_message_bytes")] = str(server.max_message_bytes)
    return variables


def _targets(config: Config, server: TaskServer) -> str:
    if server.metrics_targets:
        return str(config.folder / Path(server.metrics_targets).expanduser())
    return ""


def _worker(server: TaskServer) -> WorkerConfig:
    """The settings that are lists in the file, queues and signing keys; the others are applied later."""
    queues = server.queues or []
    return WorkerConfig(
        queues=tuple(queue.name for queue in queues) or (settings().queue,),
        shares=tuple(
            QueueShare(queue.name, queue.weight, queue.concurrency, queue.partitions)
            for queue in queues
            if (queue.weight, queue.concurrency, queue.partitions) != (1, None, None)
        ),
        signing_keys=None if server.signing_keys is None else " ".join(server.signing_keys),
    )


def _modules(config: Config, server: TaskServer, default: tuple[str, ...]) -> tuple[str, ...]:
    if server.tools:
        return tuple(_source(config, tool) for tool in server.tools)
    if not default:
        raise _without_tools(config, ("task_server", config.task_servers.index(server)))
    return default


def _without_tools(config: Config, key: KeyPath) -> ConfigFileInvalid:
    return invalid(config.file, [Problem(config.line_of(key) or 1, f"{config.name_of(key)}.tools", NO_TOOLS)])


def _source(config: Config, tool: ToolSource) -> str:
    """The tool as ``tools.load`` takes it; files are relative to the folder of the configuration file."""
    module = tool.module
    if module.endswith(".py") or "/" in module:
        module = str(config.folder / Path(module).expanduser())
    if tool.class_ is None:
        return module
    return f"{tool.name}={module}:{tool.class_}" if tool.name else f"{module}:{tool.class_}"
