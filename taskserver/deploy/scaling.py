"""Autoscalers. They follow two metrics, and the one that asks for more pods wins.

The backlog counts the jobs that could start now or within a minute, and is at least 1 while any job is delayed: delayed
jobs are in no stream, and without a worker nobody would promote them. The running jobs keep one pod for every
``concurrency`` of them: with the backlog alone, the pods would be ended as soon as they had claimed all jobs.
"""

from __future__ import annotations

from taskserver.config.resources import Autoscaling
from taskserver.deploy.unit import Manifest, Unit

BACKLOG, RUNNING = "taskserver_queue_backlog", "taskserver_queue_running"
CALM_SECONDS = 300
"""Seconds for which fewer pods must be enough before the number is reduced."""


def autoscaler(unit: Unit, bounds: Autoscaling, broker: str, queues: list[str], slots: int) -> Manifest:
    """The HorizontalPodAutoscaler or ScaledObject of a task server."""
    metrics = [(BACKLOG, bounds.lag), (RUNNING, slots)]
    if bounds.scaler == "keda":
        return _keda(unit, bounds, [_trigger(unit, bounds, broker, queues, *metric) for metric in metrics])
    return _hpa(unit, bounds, [_metric(broker, queues, *metric) for metric in metrics])


def _hpa(unit: Unit, bounds: Autoscaling, metrics: list[Manifest]) -> Manifest:
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": unit.name},
        "minReplicas": bounds.min,
        "maxReplicas": bounds.max,
        "metrics": metrics,
        "behavior": _behavior(),
    }
    return unit.manifest("autoscaling/v2", "HorizontalPodAutoscaler", spec)


def _metric(broker: str, queues: list[str], name: str, most: int) -> Manifest:
    chosen = {
        "matchLabels": {"broker": broker},
        "matchExpressions": [{"key": "queue", "operator": "In", "values": queues}],
    }
    target = {"type": "AverageValue", "averageValue": str(most)}
    return {"type": "External", "external": {"metric": {"name": name, "selector": chosen}, "target": target}}


def _keda(unit: Unit, bounds: Autoscaling, triggers: list[Manifest]) -> Manifest:
    spec = {
        "scaleTargetRef": {"name": unit.name},
        "minReplicaCount": bounds.min,
        "maxReplicaCount": bounds.max,
        "cooldownPeriod": CALM_SECONDS,
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behavior()}},
        "triggers": triggers,
    }
    return unit.manifest("keda.sh/v1alpha1", "ScaledObject", spec)


def _trigger(unit: Unit, bounds: Autoscaling, broker: str, queues: list[str], name: str, most: int) -> Manifest:
    labels = [f'broker="{broker}"', f'queue=~"{"|".join(queue.replace(".", "[.]") for queue in queues)}"']
    if unit.namespace:
        labels.append(f'namespace="{unit.namespace}"')
    return {
        "type": "prometheus",
        "metadata": {
            "serverAddress": bounds.prometheus,
            "query": f"sum({name}{{{','.join(labels)}}})",
            "threshold": str(most),
            "ignoreNullValues": "false",  # no data is no reason to end pods
        },
    }


def _behavior() -> Manifest:
    return {"scaleDown": {"stabilizationWindowSeconds": CALM_SECONDS}}
