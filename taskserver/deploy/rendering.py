"""Rendering a configuration file: the manifests, or everything in it that would not work in a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from taskserver.config.document import Path
from taskserver.config.file import Config
from taskserver.config.problems import invalid
from taskserver.config.resources import BrokerResource, TaskServer
from taskserver.deploy.brokers import address_of
from taskserver.deploy.effective import effective, environment_notes, left_out
from taskserver.deploy.loading import stated_by
from taskserver.deploy.naming import object_name
from taskserver.deploy.pod_config import pod_config
from taskserver.deploy.quantities import amount, check_resources
from taskserver.deploy.secrets import SecretCollector, SecretKey
from taskserver.deploy.unit import Manifest, Unit
from taskserver.deploy.units import (
    PodBroker,
    PodServer,
    metrics_manifests,
    metrics_unit,
    worker_manifests,
    worker_unit,
)
from taskserver.errors import ConfigError, Problem


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
        ConfigError: if a variable of the environment is not valid.
        ConfigFileInvalid: with everything that would not work in a cluster.
    """
    return _Rendering(config, image, modules, namespace).done()


class _Rendering:
    """One rendering, with the errors that it has found so far."""

    def __init__(self, config: Config, image: str | None, modules: tuple[str, ...], namespace: str | None) -> None:
        self._config = config
        self._servers = [effective(each) for each in config.task_servers]
        self._image = image
        self._modules = modules
        self._namespace = namespace
        self._problems: list[Problem] = []
        self._brokers: dict[str, PodBroker | None] = {}
        self._monitored: dict[str, Unit] = {}
        self._result = Rendered({}, [], [])

    def done(self) -> Rendered:
        for position, server in enumerate(self._servers):
            self._task_server(server, ("task_server", position))
        for stated in self._config.task_servers:
            self._result.notes.extend(environment_notes(stated))
        self._result.notes.extend(left_out())
        if self._problems:
            raise invalid(self._config.file, self._problems)
        for name, unit in self._monitored.items():
            self._put(unit.name, metrics_manifests(unit, name), ("broker",))
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

    def _broker(self, server: TaskServer) -> PodBroker | None:
        resource = self._config.broker_of(server)
        path: Path = ("task_server",)
        if resource is None:
            resource = BrokerResource(name=server.broker or "redis", url="${TASKSERVER_BROKER_URL}")
        else:
            path = ("broker", self._config.brokers.index(resource))
        if resource.name not in self._brokers:
            self._brokers[resource.name] = self._known(resource, path)
        return self._brokers[resource.name]

    def _known(self, resource: BrokerResource, path: Path) -> PodBroker | None:
        name = self._try((*path, "name"), lambda: object_name(resource.name, "-metrics"))
        found = self._try((*path, "url"), lambda: address_of(resource))
        if name is None or found is None:
            return None
        secrets = SecretCollector(object_name(resource.name, "-broker"))
        stated = stated_by(resource) | {"name": resource.name, "url": found.url}
        config = self._try(path, lambda: secrets.rewritten(stated))
        return None if config is None else PodBroker(resource, name, found, config, secrets.keys)

    def _task_server(self, resource: TaskServer, path: Path) -> None:
        broker = self._broker(resource)
        server = self._server(resource, path)
        if broker is None or server is None:
            return
        unit = worker_unit(server, broker, self._namespace)
        self._result.secrets.extend(server.secrets)
        self._result.notes.extend(_notes(resource))
        self._put(server.name, worker_manifests(unit, broker.resource.name, resource), (*path, "name"))
        if resource.kubernetes.service_monitor:
            servers = [each for each in self._servers if self._broker(each) is broker]
            queues = list(dict.fromkeys(queue for each in servers for queue in each.queue_names))
            self._monitored.setdefault(broker.resource.name, metrics_unit(unit, broker, resource, queues))

    def _server(self, resource: TaskServer, path: Path) -> PodServer | None:
        name = self._try((*path, "name"), lambda: object_name(resource.name))
        secrets = SecretCollector(name or "")
        config = self._try(path, lambda: pod_config(resource, path, self._modules, secrets, self._add_error))
        self._try((*path, "kubernetes", "resources"), lambda: check_resources(resource.kubernetes.resources))
        image = resource.kubernetes.image or self._image
        if not image:
            text = "is missing: name a container image with taskserver and your tools, here or with --image"
            self._add_error((*path, "kubernetes", "image"), text)
        if name is None or config is None or not image:
            return None
        return PodServer(resource, name, config, image, secrets.keys)

    def _put(self, name: str, manifests: list[Manifest], path: Path) -> None:
        if name in self._result.groups:
            text = f"becomes {name!r} in Kubernetes, as another name in this file does: use a different name"
            self._add_error(path, text)
        self._result.groups[name] = manifests


def _notes(server: TaskServer) -> Iterator[str]:
    limit = server.kubernetes.resources.limits.memory
    if server.max_rss and limit and server.max_rss >= amount(limit):
        yield (
            f"max_rss of {server.name} is not below the memory limit of {limit}: its pods are killed before their "
            f"workers can be replaced"
        )
    if server.kubernetes.egress == "broker" and not server.kubernetes.egress_ports:
        yield (
            f"pods of {server.name} can connect only to their broker and DNS: if its tools call other services, write "
            f"egress_ports: [443] or egress: any under kubernetes"
        )
    if server.kubernetes.autoscaling and "replicas" in server.model_fields_set:
        yield f"replicas of {server.name} is ignored in Kubernetes: autoscaling sets the number"
    if server.metrics_targets:
        yield f"metrics_targets of {server.name} is ignored in Kubernetes: a ServiceMonitor replaces it"
