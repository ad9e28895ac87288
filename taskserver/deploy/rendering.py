"""Rendering a configuration file: all that is wrong for a cluster, or the manifests."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from taskserver.config.document import Path
from taskserver.config.file import Config
from taskserver.config.problems import invalid
from taskserver.config.resources import Amounts, BrokerResource, ComputeResources, TaskServer, ToolSource
from taskserver.config.settings import Settings
from taskserver.deploy.brokers import Reach, reach
from taskserver.deploy.naming import object_name
from taskserver.deploy.parts import config_map, disruption_budget, network_policy, service, service_monitor
from taskserver.deploy.pods import CONFIG, deployment
from taskserver.deploy.quantities import check_resources
from taskserver.deploy.scaling import autoscaler
from taskserver.deploy.secrets import Needed, Secrets
from taskserver.deploy.source import said_by
from taskserver.deploy.text import as_yaml
from taskserver.deploy.unit import Manifest, Unit
from taskserver.errors import ConfigError, Problem

WORKER_PORT, METRICS_PORT = 9101, 9100
EVERYWHERE = "0.0.0.0"  # noqa: S104 - in a pod, where the NetworkPolicy says who comes in
HAND_BACK = 30
"""Seconds for a worker to give back what its grace period did not suffice for, and to say goodbye."""
_SMALL = ComputeResources(requests=Amounts(cpu="50m", memory="128Mi"), limits=Amounts(cpu="500m", memory="256Mi"))


class Rendered(NamedTuple):
    """What came of a file.

    Attributes:
        groups: Manifests by what they are for: the names of task servers and of the brokers' metrics.
        needed: Keys of Secrets that must exist.
        notes: What a person should know, in sentences.
    """

    groups: dict[str, list[Manifest]]
    needed: list[Needed]
    notes: list[str]

    @property
    def manifests(self) -> list[Manifest]:
        """All of them."""
        return [each for group in self.groups.values() for each in group]


def render(config: Config, *, image: str | None, modules: tuple[str, ...], namespace: str | None) -> Rendered:
    """Render a file that was loaded by ``load_kept``.

    Args:
        config: The file.
        image: The image for task servers that name none.
        modules: Tools for task servers that name none.
        namespace: Where all of it shall be; None for wherever it is applied.

    Raises:
        ConfigFileInvalid: with all for which it cannot run in a cluster.
    """
    return _Rendering(config, image, modules, namespace).done()


class _Broker(NamedTuple):
    resource: BrokerResource
    name: str
    reach: Reach
    config: dict[str, Any]
    needed: list[Needed]


class _Rendering:
    """One rendering, with what it finds wrong on its way."""

    def __init__(self, config: Config, image: str | None, modules: tuple[str, ...], namespace: str | None) -> None:
        self._config = config
        self._image = image
        self._modules = modules
        self._namespace = namespace
        self._problems: list[Problem] = []
        self._brokers: dict[str, _Broker | None] = {}
        self._monitored: dict[str, Unit] = {}
        self._result = Rendered({}, [], [])

    def done(self) -> Rendered:
        for position, server in enumerate(self._config.task_servers):
            self._task_server(server, ("task_server", position))
        if self._problems:
            raise invalid(self._config.file, self._problems)
        for name, unit in self._monitored.items():
            self._put(unit.name, [config_map(unit), *self._around(unit, name)], ("broker",))
        for broker in filter(None, self._brokers.values()):
            self._result.needed.extend(broker.needed)
            if broker.reach.guessed:
                ports = " and ".join(map(str, broker.reach.ports))
                why = broker.reach.guessed.format(broker.resource.name)
                self._result.notes.append(
                    f"{why}: the network policies let out to port {ports}; if it is another, name it by "
                    f"kubernetes.egress_ports"
                )
        if self._problems:
            raise invalid(self._config.file, self._problems)
        return self._result

    def _try(self, path: Path, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except ConfigError as error:
            self._refuse(path, str(error))
            return None

    def _refuse(self, path: Path, text: str) -> None:
        found = self._config.refusal(path, text).problems
        self._problems += [problem for problem in found if problem not in self._problems]

    def _broker(self, server: TaskServer) -> _Broker | None:
        resource = self._config.broker_of(server)
        path: Path = ("task_server",)
        if resource is None:
            resource = BrokerResource(name=server.broker or "redis", url="${TASKSERVER_BROKER_URL}")
        else:
            path = ("broker", self._config.brokers.index(resource))
        if resource.name not in self._brokers:
            self._brokers[resource.name] = self._known(resource, path)
        return self._brokers[resource.name]

    def _known(self, resource: BrokerResource, path: Path) -> _Broker | None:
        name = self._try((*path, "name"), lambda: object_name(resource.name, "-metrics"))
        found = self._try((*path, "url"), lambda: reach(resource))
        if name is None or found is None:
            return None
        secrets = Secrets(object_name(resource.name, "-broker"))
        said = said_by(resource) | {"name": resource.name, "url": found.url}
        config = self._try(path, lambda: secrets.rewritten(said))
        return None if config is None else _Broker(resource, name, found, config, secrets.needed)

    def _task_server(self, server: TaskServer, path: Path) -> None:
        name = self._try((*path, "name"), lambda: object_name(server.name))
        broker = self._broker(server)
        secrets = Secrets(name or "")
        config = self._try(path, lambda: self._worker(server, path, secrets))
        self._try((*path, "kubernetes", "resources"), lambda: check_resources(server.kubernetes.resources))
        image = server.kubernetes.image or self._image
        if not image:
            self._refuse(
                (*path, "kubernetes", "image"),
                "is missing: name the container image with taskserver and your tools, or say --image",
            )
        if name is None or broker is None or config is None or not image:
            return
        bounds = server.kubernetes.autoscaling
        unit = Unit(
            name=name,
            component="worker",
            arguments=["worker", "--config-file", CONFIG],
            config=as_yaml({"broker": broker.config, "task_server": config}),
            port=config["metrics_port"],
            image=image,
            kubernetes=server.kubernetes,
            resources=server.kubernetes.resources,
            needed=[*broker.needed, *secrets.needed],
            broker_ports=broker.reach.ports,
            grace=math.ceil(server.grace_period) + HAND_BACK,
            replicas=None if bounds else server.replicas,
            namespace=self._namespace,
        )
        self._result.needed.extend(secrets.needed)
        self._notes(server)
        self._put(name, [config_map(unit), *self._around(unit, broker.resource.name)], (*path, "name"))
        if bounds:
            queues = [queue.name for queue in server.queues or ()] or [str(Settings.model_fields["queue"].default)]
            scaler = autoscaler(unit, bounds, broker.resource.name, queues, server.slots)
            self._result.groups[name].append(scaler)
        if server.kubernetes.service_monitor:
            self._monitored.setdefault(broker.resource.name, _metrics_of(unit, broker, server))

    def _worker(self, server: TaskServer, path: Path, secrets: Secrets) -> dict[str, Any]:
        """What the file of its pods says of it."""
        host = server.overrides.get("metrics_host", EVERYWHERE)
        if host not in (EVERYWHERE, "::"):
            self._refuse((*path, "metrics_host"), f"must be {EVERYWHERE} in pods, or Prometheus cannot reach them")
        said = said_by(server)
        for key in ("kubernetes", "metrics_targets"):
            said.pop(key, None)
        keys = said.pop("signing_keys", None)
        made: dict[str, Any] = secrets.rewritten(said)
        if keys is not None:
            made["signing_keys"] = [secrets.signing_key(place) for place in server.signing_keys or ()]
        if not server.tools:
            made["tools"] = [{"module": module.replace("$", "$$")} for module in self._modules]
        for position, tool in enumerate(server.tools or [ToolSource(module=module) for module in self._modules]):
            self._check_tool(tool, (*path, "tools", position, "module"))
        if not made["tools"]:
            how = "write tools: [{module: my_agent.tools}], or name the module by --tools or TASKSERVER_TOOLS"
            self._refuse((*path, "tools"), f"is missing: {how}")
        made |= {"name": server.name, "replicas": 1, "metrics_port": server.metrics_port or WORKER_PORT}
        return made | {"metrics_host": host}

    def _check_tool(self, tool: ToolSource, path: Path) -> None:
        if (tool.module.endswith(".py") or "/" in tool.module) and not tool.module.startswith("/"):
            self._refuse(path, "is a file beside this one, where pods have none: name a module of the image, my.tools")

    def _around(self, unit: Unit, broker: str) -> list[Manifest]:
        made = [deployment(unit), service(unit), network_policy(unit)]
        if unit.component == "worker":
            made.append(disruption_budget(unit))
        if unit.kubernetes.service_monitor:
            made.append(service_monitor(unit, broker))
        return made

    def _put(self, name: str, manifests: list[Manifest], path: Path) -> None:
        if name in self._result.groups:
            self._refuse(path, f"would be {name!r} in Kubernetes, as something else of this file: choose another name")
        self._result.groups[name] = manifests

    def _notes(self, server: TaskServer) -> None:
        said, name = self._result.notes, server.name
        if server.kubernetes.egress == "broker" and not server.kubernetes.egress_ports:
            said.append(
                f"pods of {name} reach only their broker and DNS: if its tools call others, write egress_ports: [443] "
                f"or egress: any under kubernetes"
            )
        if server.kubernetes.autoscaling and "replicas" in server.model_fields_set:
            said.append(f"replicas of {name} does not count in Kubernetes, where autoscaling says how many there are")
        if server.metrics_targets:
            said.append(f"metrics_targets of {name} counts on one machine only: a ServiceMonitor tells Prometheus here")


def _metrics_of(unit: Unit, broker: _Broker, server: TaskServer) -> Unit:
    """The process that serves the metrics of all queues and workers of a broker."""
    arguments = ["metrics", "--config-file", CONFIG, "--host", EVERYWHERE, "--port", str(METRICS_PORT)]
    return unit._replace(
        name=broker.name,
        component="metrics",
        arguments=arguments,
        config=as_yaml({"broker": broker.config, "task_server": {"name": server.name}}),
        port=METRICS_PORT,
        resources=_SMALL,
        needed=broker.needed,
        grace=HAND_BACK,
        replicas=1,
    )
