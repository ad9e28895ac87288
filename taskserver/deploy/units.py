"""The units of a configuration file: the workers of a task server, and the metrics of its broker."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from taskserver.config.resources import Amounts, BrokerResource, ComputeResources, TaskServer
from taskserver.deploy.brokers import BrokerAddress
from taskserver.deploy.objects import config_map, disruption_budget, network_policy, service, service_monitor
from taskserver.deploy.pod_config import EVERYWHERE
from taskserver.deploy.pods import CONFIG, deployment
from taskserver.deploy.scaling import autoscaler
from taskserver.deploy.secrets import SecretKey
from taskserver.deploy.text import as_yaml
from taskserver.deploy.unit import Manifest, Unit
from taskserver.worker.process_exit import LEAVE_SECONDS

METRICS_PORT = 9100
HAND_BACK = 2 * math.ceil(LEAVE_SECONDS)
"""Seconds for a worker to hand back unfinished jobs and to leave, after its grace period: twice what it may take."""
_SMALL = ComputeResources(requests=Amounts(cpu="50m", memory="128Mi"), limits=Amounts(cpu="500m", memory="256Mi"))


class PodBroker(NamedTuple):
    """A broker as pods use it.

    Attributes:
        resource: The broker in the file.
        name: Name of the objects that serve its metrics.
        address: How pods reach it.
        config: The broker in the configuration file of pods.
        secrets: The keys of Secrets that it needs.
    """

    resource: BrokerResource
    name: str
    address: BrokerAddress
    config: dict[str, Any]
    secrets: list[SecretKey]


class PodServer(NamedTuple):
    """A task server as pods run it.

    Attributes:
        resource: The task server in the file.
        name: Name of its objects.
        config: The task server in the configuration file of pods.
        image: Container image.
        secrets: The keys of Secrets that it needs, besides those of its broker.
    """

    resource: TaskServer
    name: str
    config: dict[str, Any]
    image: str
    secrets: list[SecretKey]


def worker_unit(server: PodServer, broker: PodBroker, namespace: str | None) -> Unit:
    """The unit that runs the workers of a task server."""
    resource = server.resource
    return Unit(
        name=server.name,
        component="worker",
        arguments=["worker", "--config-file", CONFIG],
        config=as_yaml({"broker": broker.config, "task_server": server.config}),
        port=server.config["metrics_port"],
        image=server.image,
        kubernetes=resource.kubernetes,
        resources=resource.kubernetes.resources,
        secrets=[*broker.secrets, *server.secrets],
        broker_ports=broker.address.ports,
        grace=math.ceil(resource.grace_period) + HAND_BACK,
        replicas=None if resource.kubernetes.autoscaling else resource.replicas,
        namespace=namespace,
    )


def metrics_unit(workers: Unit, broker: PodBroker, server: TaskServer, queues: list[str]) -> Unit:
    """The unit that serves the metrics of all queues and workers of a broker, like the workers of a task server.

    Args:
        workers: The unit of that task server.
        broker: The broker.
        server: The task server.
        queues: The queues of all task servers of the broker: they have metrics however many others there are.
    """
    return workers._replace(
        name=broker.name,
        component="metrics",
        arguments=["metrics", "--config-file", CONFIG, "--host", EVERYWHERE, "--port", str(METRICS_PORT)],
        config=as_yaml({"broker": broker.config, "task_server": {"name": server.name, "queues": queues}}),
        port=METRICS_PORT,
        resources=_SMALL,
        secrets=broker.secrets,
        grace=HAND_BACK,
        replicas=1,
    )


def worker_manifests(unit: Unit, broker: str, server: TaskServer) -> list[Manifest]:
    """All objects of a unit of workers."""
    made = [config_map(unit), deployment(unit), service(unit), network_policy(unit), disruption_budget(unit)]
    made += _monitor(unit, broker)
    if bounds := server.kubernetes.autoscaling:
        made.append(autoscaler(unit, bounds, broker, server.queue_names, server.slots))
    return made


def metrics_manifests(unit: Unit, broker: str) -> list[Manifest]:
    """All objects of a unit that serves metrics."""
    return [config_map(unit), deployment(unit), service(unit), network_policy(unit), *_monitor(unit, broker)]


def _monitor(unit: Unit, broker: str) -> list[Manifest]:
    return [service_monitor(unit, broker)] if unit.kubernetes.service_monitor else []
