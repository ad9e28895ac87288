"""What is rendered as one Deployment: the workers of a task server, or the metrics of a broker."""

from __future__ import annotations

from typing import Any, NamedTuple

from taskserver.config.resources import ComputeResources, Kubernetes
from taskserver.deploy.naming import labels, selector
from taskserver.deploy.secrets import Needed

Manifest = dict[str, Any]


class Unit(NamedTuple):
    """One Deployment and what belongs to it.

    Attributes:
        name: Of every object of it; no two objects of a kind are called alike.
        component: ``worker`` or ``metrics``.
        arguments: The command that its pods run.
        config: The configuration file that they work by.
        port: Where they serve metrics and health.
        image: The container image.
        kubernetes: What the file says of the pods.
        resources: What each pod asks for and may use.
        needed: The Secrets that they use.
        broker_ports: Where their broker is.
        grace: Seconds that a pod may take to end.
        replicas: How many pods; None if an autoscaler says.
        namespace: Where all of it is; None for wherever it is applied.
    """

    name: str
    component: str
    arguments: list[str]
    config: str
    port: int
    image: str
    kubernetes: Kubernetes
    resources: ComputeResources
    needed: list[Needed]
    broker_ports: list[int]
    grace: int
    replicas: int | None
    namespace: str | None

    def manifest(self, api: str, kind: str, spec: Manifest | None = None, **rest: Any) -> Manifest:
        """An object of this name, with the labels of all."""
        metadata: Manifest = {"name": self.name}
        if self.namespace:
            metadata["namespace"] = self.namespace
        metadata["labels"] = self.labels
        made: Manifest = {"apiVersion": api, "kind": kind, "metadata": metadata}
        return made | ({} if spec is None else {"spec": spec}) | rest

    @property
    def labels(self) -> dict[str, str]:
        """All labels."""
        return labels(self.name, self.component)

    @property
    def selector(self) -> Manifest:
        """What chooses its pods."""
        return {"matchLabels": selector(self.name, self.component)}
