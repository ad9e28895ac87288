"""The Deployment of a unit: what its pods run, their rights and their probes."""

from __future__ import annotations

from typing import Any

from taskserver.config.resources import Toleration
from taskserver.deploy.secrets import FOLDER, variables, volumes
from taskserver.deploy.unit import Manifest, Unit

USER = 10001
"""The user in the image. It is a number, so that the cluster can check that it is not root."""
CONFIG = "/etc/taskserver/config.yaml"
_NODE, _ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"


def deployment(unit: Unit) -> Manifest:
    """The Deployment. A rollout lets old pods finish their jobs."""
    spec: Manifest = {} if unit.replicas is None else {"replicas": unit.replicas}
    spec |= {
        "selector": unit.selector,
        "strategy": _strategy(unit),
        "template": {"metadata": {"labels": unit.labels}, "spec": _pod(unit)},
    }
    return unit.manifest("apps/v1", "Deployment", spec)


def _strategy(unit: Unit) -> Manifest:
    """How pods are replaced: where there is room for more, a new one is ready before an old one goes."""
    if unit.component == "metrics":
        return {"type": "Recreate"}  # two such pods would double every sum
    most = unit.kubernetes.max_surge
    surge = int(most) if most.isdecimal() else most
    fewer = 1 if most.rstrip("%").strip("0") == "" else 0  # Kubernetes needs one of the two
    return {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": fewer, "maxSurge": surge}}


def _pod(unit: Unit) -> Manifest:
    options = unit.kubernetes
    pod: Manifest = {}
    if options.service_account:
        pod["serviceAccountName"] = options.service_account
    pod["automountServiceAccountToken"] = False
    if options.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in options.image_pull_secrets]
    if options.node_selector:
        pod["nodeSelector"] = dict(options.node_selector)
    if options.tolerations:
        pod["tolerations"] = [_toleration(each) for each in options.tolerations]
    return pod | {
        "terminationGracePeriodSeconds": unit.grace,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [_spread(unit, key) for key in (_NODE, _ZONE)],
        "containers": [_container(unit)],
        "volumes": [
            {"name": "config", "configMap": {"name": unit.config_name}},
            {"name": "tmp", "emptyDir": {"sizeLimit": options.tmp_size}},
            *volumes(unit.secrets),
        ],
    }


def _toleration(taint: Toleration) -> Manifest:
    operator = "Exists" if taint.value is None else "Equal"
    return {"operator": operator, **taint.model_dump(exclude_none=True)}


def _spread(unit: Unit, key: str) -> Manifest:
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": unit.selector,
    }


def _container(unit: Unit) -> Manifest:
    container: Manifest = {
        "name": unit.component,
        "image": unit.image,
        "command": ["taskserver", *unit.arguments],
    }
    if environment := variables(unit.secrets):
        container["env"] = environment
    return container | {
        "ports": [{"name": "metrics", "containerPort": unit.port}],
        "resources": unit.resources.model_dump(exclude_none=True),
        # Loading tools can take minutes: the other probes wait until this one succeeds.
        "startupProbe": _probe("/healthz", periodSeconds=2, failureThreshold=150),
        "readinessProbe": _probe("/readyz", periodSeconds=5, failureThreshold=2),
        # A worker ends by itself if its loop is blocked longer than its jobs' timeouts; this is for everything else.
        "livenessProbe": _probe("/healthz", periodSeconds=30, failureThreshold=10),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG.rpartition("/")[0], "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            *(_mount(volume) for volume in volumes(unit.secrets)),
        ],
    }


def _mount(volume: Manifest) -> Manifest:
    return {"name": volume["name"], "mountPath": f"{FOLDER}/{volume['secret']['secretName']}", "readOnly": True}


def _probe(path: str, **rest: Any) -> Manifest:
    return {"httpGet": {"path": path, "port": "metrics"}, "timeoutSeconds": 3, **rest}
