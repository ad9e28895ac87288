"""The objects around a Deployment: configuration, service, monitor, disruption budget and network policy."""

from __future__ import annotations

from taskserver.deploy.unit import Manifest, Unit

_JOBS = {"worker": "taskserver", "metrics": "taskserver-cluster"}
"""Names of the Prometheus jobs; the alerts use them."""


def config_map(unit: Unit) -> Manifest:
    """The configuration file; it contains references, and no secret.

    Its name changes with its content. So a pod that restarts during a rollout finds the file of its own version, and a
    changed file replaces the pods.
    """
    made = unit.manifest("v1", "ConfigMap", data={"config.yaml": unit.config}, immutable=True)
    made["metadata"]["name"] = unit.config_name
    return made


def service(unit: Unit) -> Manifest:
    """A headless service, through which Prometheus finds each pod."""
    spec = {
        "clusterIP": "None",
        "selector": unit.selector["matchLabels"],
        "ports": [{"name": "metrics", "port": unit.port, "targetPort": "metrics"}],
    }
    return unit.manifest("v1", "Service", spec)


def service_monitor(unit: Unit, broker: str) -> Manifest:
    """The monitor of the service. Its label names the broker, since two brokers can have queues of the same name."""
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
    """When nodes are drained, pods go one at a time; those that take no jobs anyway do not hold the drain up."""
    spec = {"maxUnavailable": 1, "selector": unit.selector, "unhealthyPodEvictionPolicy": "AlwaysAllow"}
    return unit.manifest("policy/v1", "PodDisruptionBudget", spec)


def network_policy(unit: Unit) -> Manifest:
    """In: only scrapes and probes. Out: the broker's ports, DNS, and what the file allows."""
    dns = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    ports = dict.fromkeys([*unit.broker_ports, *unit.kubernetes.egress_ports])
    tcp = [{"protocol": "TCP", "port": port} for port in ports]
    spec = {
        "podSelector": unit.selector,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [_scrapes(unit)],
        "egress": [{}] if unit.kubernetes.egress == "any" else [{"ports": dns}, {"ports": tcp}],
    }
    return unit.manifest("networking.k8s.io/v1", "NetworkPolicy", spec)


def _scrapes(unit: Unit) -> Manifest:
    """Who may reach the metrics. Probes come from the node, which no policy keeps out."""
    rule: Manifest = {"ports": [{"protocol": "TCP", "port": unit.port}]}
    names = [{"matchLabels": {"kubernetes.io/metadata.name": name}} for name in unit.kubernetes.ingress_namespaces]
    return rule | ({"from": [{"namespaceSelector": name} for name in names]} if names else {})
