"""A unit becomes one Deployment: the workers of a task server, or the metrics of a broker."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, NamedTuple

from taskserver.config.resources import ComputeResources, Kubernetes
from taskserver.deploy.naming import labels, selector
from taskserver.deploy.secrets import SecretKey

Manifest = dict[str, Any]


class Unit(NamedTuple):
    """One Deployment and the objects around it.

    Attributes:
        name: Name of all its objects but the ConfigMap; no two objects of a kind have the same name.
        component: ``worker`` or ``metrics``.
        arguments: Arguments of ``taskserver`` in its pods.
        config: The configuration file of its pods.
        port: Port of metrics and health.
        image: Container image.
        kubernetes: The section ``kubernetes`` of the file.
        resources: Compute resources of each pod.
        secrets: The keys of Secrets that its pods use.
        broker_ports: TCP ports of the broker.
        grace: Seconds that a pod has to end.
        replicas: Number of pods; None if an autoscaler decides.
        namespace: Namespace; None for the one in which it is applied.
    """

    name: str
    component: str
    arguments: list[str]
    config: str
    port: int
    image: str
    kubernetes: Kubernetes
    resources: ComputeResources
    secrets: list[SecretKey]
    broker_ports: list[int]
    grace: int
    replicas: int | None
    namespace: str | None

    def manifest(self, api: str, kind: str, spec: Manifest | None = None, **rest: Any) -> Manifest:
        """An object with the name and labels of the unit."""
        metadata: Manifest = {"name": self.name}
        if self.namespace:
            metadata["namespace"] = self.namespace
        metadata["labels"] = self.labels
        made: Manifest = {"apiVersion": api, "kind": kind, "metadata": metadata}
        return made | ({} if spec is None else {"spec": spec}) | rest

    @property
    def config_name(self) -> str:
        """Name of the ConfigMap with its configuration file."""
        return f"{self.name}-{blake2b(self.config.encode(), digest_size=5).hexdigest()}"

    @property
    def labels(self) -> dict[str, str]:
        """All labels."""
        return labels(self.name, self.component)

    @property
    def selector(self) -> Manifest:
        """The selector of its pods."""
        return {"matchLabels": selector(self.name, self.component)}
