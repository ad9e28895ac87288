"""Rendering a configuration file: the manifests, or everything in it that would not work in a cluster."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from taskserver.config.document import Path
from taskserver.config.file import Config
from taskserver.config.problems import invalid
from taskserver.config.resources import Amounts, BrokerResource, ComputeResources, TaskServer, ToolSource
from taskserver.config.settings import Settings
from taskserver.deploy.brokers import BrokerAddress, address_of
from taskserver.deploy.loading import stated_by
from taskserver.deploy.naming import object_name
from taskserver.deploy.objects import config_map, disruption_budget, network_policy, service, service_monitor
from taskserver.deploy.pods import CONFIG, deployment
from taskserver.deploy.quantities import check_resources
from taskserver.deploy.scaling import autoscaler
from taskserver.deploy.secrets import SecretCollector, SecretKey
from taskserver.deploy.text import as_yaml
from taskserver.deploy.unit import Manifest, Unit
from taskserver.errors import ConfigError, Problem

WORKER_PORT, METRICS_PORT = 9101, 9100
EVERYWHERE = "0.0.0.0"  # noqa: S104 - in a pod, behind its NetworkPolicy
HAND_BACK = 30
"""Seconds for a worker to hand back unfinished jobs and to leave, after its grace period."""
_SMALL = ComputeResources(requests=Amounts(cpu="50m", memory="128Mi"), limits=Amounts(cpu="500m", memory="256Mi"))


class Rendered(NamedTuple):
    """The result of rendering.

    Attributes:
        groups: Manifests by group; each task server is a group, and so are the metrics of each broker.
        secrets: Keys of Secrets that must exist.
        notes: Advice for the user, in sentences.
    """

    groups: dict[str, list[Manifest]]
    secrets: list[SecretKey]
    notes: list[str]

    @property
    def manifests(self) -> list[Manifest]:
        """The manifests of all groups."""
        return [each for group in self.groups.values() for each in group]


def render(config: Config, *, image: str | None, modules: tuple[str, ...], namespace: str | None) -> Rendered:
    """Render a file that was loaded with ``load_unresolved``.

    Args:
        config: The file.
        image: Image for task servers that name none.
        modules: Modules with tools for task servers that name none.
        namespace: Namespace of all objects; None for the one in which they are applied.

    Raises:
        ConfigFileInvalid: with everything that would not work in a cluster.
    """
    return _Rendering(config, image, modules, namespace).done()


class _Broker(NamedTuple):
    resource: BrokerResource
    name: str
    address: BrokerAddress
    config: dict[str, Any]
    secrets: list[SecretKey]


class _Rendering:
    """One rendering, with the errors that it has found so far."""

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
            self._put(unit.name, [config_map(unit), *self._objects(unit, name)], ("broker",))
        for broker in filter(None, self._brokers.values()):
            self._result.secrets.extend(broker.secrets)
            if broker.address.guessed:
                ports = " and ".join(map(str, broker.address.ports))
                why = broker.address.guessed.format(broker.resource.name)
                self._result.notes.append(
                    f"{why}: network policies allow port {ports}; allow others with kubernetes.egress_ports"
                )
        if self._problems:
            raise invalid(self._config.file, self._problems)
        return self._result

    def _try(self, path: Path, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except ConfigError as error:
            self._add_error(path, str(error))
            return None

    def _add_error(self, path: Path, text: str) -> None:
        found = self._config.error_at(path, text).problems
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
        found = self._try((*path, "url"), lambda: address_of(resource))
        if name is None or found is None:
            return None
        secrets = SecretCollector(object_name(resource.name, "-broker"))
        stated = stated_by(resource) | {"name": resource.name, "url": found.url}
        config = self._try(path, lambda: secrets.rewritten(stated))
        return None if config is None else _Broker(resource, name, found, config, secrets.keys)

    def _task_server(self, server: TaskServer, path: Path) -> None:
        name = self._try((*path, "name"), lambda: object_name(server.name))
        broker = self._broker(server)
        secrets = SecretCollector(name or "")
        config = self._try(path, lambda: self._worker(server, path, secrets))
        self._try((*path, "kubernetes", "resources"), lambda: check_resources(server.kubernetes.resources))
        image = server.kubernetes.image or self._image
        if not image:
            self._add_error(
                (*path, "kubernetes", "image"),
                "is missing: name a container image with taskserver and your tools, here or with --image",
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
            secrets=[*broker.secrets, *secrets.keys],
            broker_ports=broker.address.ports,
            grace=math.ceil(server.grace_period) + HAND_BACK,
            replicas=None if bounds else server.replicas,
            namespace=self._namespace,
        )
        self._result.secrets.extend(secrets.keys)
        self._notes(server)
        self._put(name, [config_map(unit), *self._objects(unit, broker.resource.name)], (*path, "name"))
        if bounds:
            queues = [queue.name for queue in server.queues or ()] or [str(Settings.model_fields["queue"].default)]
            scaler = autoscaler(unit, bounds, broker.resource.name, queues, server.slots)
            self._result.groups[name].append(scaler)
        if server.kubernetes.service_monitor:
            self._monitored.setdefault(broker.resource.name, _metrics_of(unit, broker, server))

    def _worker(self, server: TaskServer, path: Path, secrets: SecretCollector) -> dict[str, Any]:
        """The task server in the configuration file of its pods."""
        host = server.overrides.get("metrics_host", EVERYWHERE)
        if host not in (EVERYWHERE, "::"):
            self._add_error((*path, "metrics_host"), f"must be {EVERYWHERE} in pods, so that Prometheus can reach them")
        stated = stated_by(server)
        for key in ("kubernetes", "metrics_targets"):
            stated.pop(key, None)
        keys = stated.pop("signing_keys", None)
        made: dict[str, Any] = secrets.rewritten(stated)
        if keys is not None:
            made["signing_keys"] = [secrets.signing_key(source) for source in server.signing_keys or ()]
        if not server.tools:
            made["tools"] = [{"module": module.replace("$", "$$")} for module in self._modules]
        for position, tool in enumerate(server.tools or [ToolSource(module=module) for module in self._modules]):
            self._check_tool(tool, (*path, "tools", position, "module"))
        if not made["tools"]:
            how = "write tools: [{module: my_agent.tools}], or set the module with --tools or TASKSERVER_TOOLS"
            self._add_error((*path, "tools"), f"is missing: {how}")
        made |= {"name": server.name, "replicas": 1, "metrics_port": server.metrics_port or WORKER_PORT}
        return made | {"metrics_host": host}

    def _check_tool(self, tool: ToolSource, path: Path) -> None:
        if (tool.module.endswith(".py") or "/" in tool.module) and not tool.module.startswith("/"):
            self._add_error(path, "is a relative path, which pods lack: name a module in the image, such as my.tools")

    def _objects(self, unit: Unit, broker: str) -> list[Manifest]:
        made = [deployment(unit), service(unit), network_policy(unit)]
        if unit.component == "worker":
            made.append(disruption_budget(unit))
        if unit.kubernetes.service_monitor:
            made.append(service_monitor(unit, broker))
        return made

    def _put(self, name: str, manifests: list[Manifest], path: Path) -> None:
        if name in self._result.groups:
            self._add_error(
                path,
                f"becomes {name!r} in Kubernetes, as another name in this file does: use a different name",
            )
        self._result.groups[name] = manifests

    def _notes(self, server: TaskServer) -> None:
        notes, name = self._result.notes, server.name
        if server.kubernetes.egress == "broker" and not server.kubernetes.egress_ports:
            notes.append(
                f"pods of {name} can connect only to their broker and DNS: if its tools call other services, write "
                f"egress_ports: [443] or egress: any under kubernetes"
            )
        if server.kubernetes.autoscaling and "replicas" in server.model_fields_set:
            notes.append(f"replicas of {name} is ignored in Kubernetes: autoscaling sets the number")
        if server.metrics_targets:
            notes.append(
                f"metrics_targets of {name} is ignored in Kubernetes: Prometheus finds pods through the ServiceMonitor"
            )


def _metrics_of(unit: Unit, broker: _Broker, server: TaskServer) -> Unit:
    """The unit that serves the metrics of all queues and workers of a broker."""
    arguments = ["metrics", "--config-file", CONFIG, "--host", EVERYWHERE, "--port", str(METRICS_PORT)]
    return unit._replace(
        name=broker.name,
        component="metrics",
        arguments=arguments,
        config=as_yaml({"broker": broker.config, "task_server": {"name": server.name}}),
        port=METRICS_PORT,
        resources=_SMALL,
        secrets=broker.secrets,
        grace=HAND_BACK,
        replicas=1,
    )
