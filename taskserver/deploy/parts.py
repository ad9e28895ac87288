"""What stands around a Deployment: its configuration, its address for Prometheus, and what may reach it."""

from __future__ import annotations

from taskserver.deploy.unit import Manifest, Unit

_JOBS = {"worker": "taskserver", "metrics": "taskserver-cluster"}
"""The alerts know Prometheus' jobs by these names."""


def config_map(unit: Unit) -> Manifest:
    """The configuration file; it has references, and no secret."""
    return unit.manifest("v1", "ConfigMap", data={"config.yaml": unit.config})


def service(unit: Unit) -> Manifest:
    """By which Prometheus finds each pod; it has no address of its own."""
    spec = {
        "clusterIP": "None",
        "selector": unit.selector["matchLabels"],
        "ports": [{"name": "metrics", "port": unit.port, "targetPort": "metrics"}],
    }
    return unit.manifest("v1", "Service", spec)


def service_monitor(unit: Unit, broker: str) -> Manifest:
    """What tells the Prometheus operator of the service. The broker is told by a label: two may have queues alike."""
    endpoint = {
        "port": "metrics",
        "interval": "15s",
        "relabelings": [
            {"targetLabel": "job", "replacement": _JOBS[unit.component]},
            {"targetLabel": "broker", "replacement": broker},
        ],
    }
    spec = {"selector": unit.selector, "endpoints": [endpoint]}
    return unit.manifest("monitoring.coreos.com/v1", "ServiceMonitor", spec)


def disruption_budget(unit: Unit) -> Manifest:
    """When nodes are emptied, one pod goes after the other."""
    spec = {"maxUnavailable": 1, "selector": unit.selector}
    return unit.manifest("policy/v1", "PodDisruptionBudget", spec)


def network_policy(unit: Unit) -> Manifest:
    """In come only scrapes and probes; out go the broker's port, DNS, and what the file allows besides."""
    dns = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    ports = dict.fromkeys([*unit.broker_ports, *unit.kubernetes.egress_ports])
    tcp = [{"protocol": "TCP", "port": port} for port in ports]
    spec = {
        "podSelector": unit.selector,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": [{"protocol": "TCP", "port": unit.port}]}],
        "egress": [{}] if unit.kubernetes.egress == "any" else [{"ports": dns}, {"ports": tcp}],
    }
    return unit.manifest("networking.k8s.io/v1", "NetworkPolicy", spec)
