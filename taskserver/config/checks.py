"""Rules about several values of a configuration file at once, and about secrets in it.

They work on the raw data of the file, so that they also find errors when other values are not valid.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from taskserver.config.document import Path
from taskserver.config.references import REFERENCE_HINT, Reference, ResolvedText, has_plain_password, parts
from taskserver.config.resources import ALIASES
from taskserver.config.texts import variable
from taskserver.config.worker_settings import WorkerSettings
from taskserver.domain.names import did_you_mean
from taskserver.domain.secrets import looks_secret, words

_KEY_OF = {variable(name): name for name in WorkerSettings.model_fields} | {
    variable("queue"): "queues",
    "TASKSERVER_TOOLS": "tools",
    variable("broker_url"): "broker.url",
    variable("durability"): "broker.durability",
    "TASKSERVER_HOME": "broker.data",
}
"""Variables that ``env`` cannot set, each with the key of the file that can."""


class Conflict(NamedTuple):
    """An error at a key of the file."""

    path: Path
    message: str


def is_secret(path: Path) -> bool:
    """Whether the key says that its value is a secret. A key for the name of a file does not."""
    key = path[-1] if path else ""
    return isinstance(key, str) and looks_secret(key) and words(key)[-1] not in ("file", "path", "dir")


def plain_secret(path: Path, text: str) -> str | None:
    """The error if ``text`` contains a secret in plain text; None otherwise."""
    if is_secret(path):
        plain = [part.default if isinstance(part, Reference) else part for part in parts(text)]
        if any(plain):
            return f"secrets are not allowed in the file: write {REFERENCE_HINT}"
    if has_plain_password(text):
        return "passwords are not allowed in a URL: use a reference, as in redis://user:${REDIS_PASSWORD}@host:6379"
    return None


def conflicts(data: dict[str, Any]) -> Iterator[Conflict]:
    """Every error that concerns several values."""
    brokers = list(_resources(data, "broker"))
    servers = list(_resources(data, "task_server"))
    yield from _same_names(brokers, "redis", "broker")
    yield from _same_names(servers, "task_server", "task server")
    for path, broker in brokers:
        yield from _broker(path, broker)
    names = [_text(broker.get("name", "redis")) for _, broker in brokers]
    for path, server in servers:
        yield from _aliases(path, server)
        yield from _broker_of(path, server, names)
        yield from _queues(path, server)
        yield from _tools(path, server)
        yield from _autoscaling(path, server)
        yield from _env(path, server)
    yield from _ports(servers)
    yield from _targets(servers)


def _resources(data: dict[str, Any], key: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    given = data.get(key)
    if isinstance(given, dict):
        yield (key,), given
    elif isinstance(given, list):
        yield from (((key, position), each) for position, each in enumerate(given) if isinstance(each, dict))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _same_names(resources: list[tuple[Path, dict[str, Any]]], default: str, what: str) -> Iterator[Conflict]:
    seen: set[str] = set()
    for path, resource in resources:
        name = _text(resource.get("name", default))
        if name and name in seen:
            yield Conflict((*path, "name"), f"another {what} is already named {name!r}: use a different name")
        seen.add(name)


def _broker(path: Path, broker: dict[str, Any]) -> Iterator[Conflict]:
    if "url" in broker:
        if "data" in broker:
            yield Conflict((*path, "data"), "is only for the embedded broker: remove data or url")
        if broker.get("password") and "@" in _text(broker["url"]) and not isinstance(broker["url"], ResolvedText):
            yield Conflict((*path, "password"), "is also in the url: remove one of them")
    else:
        for key in ("username", "password"):
            if key in broker:
                yield Conflict((*path, key), "requires a url: the embedded broker has no users or passwords")
    if "username" in broker and "password" not in broker and "url" in broker:
        yield Conflict((*path, "username"), "requires a password: write password: ${NAME} or ${file:/path/to/it}")


def _aliases(path: Path, server: dict[str, Any]) -> Iterator[Conflict]:
    for alias, key in ALIASES.items():
        if alias in server and key in server:
            yield Conflict((*path, alias), f"is an alias of {key}: remove one of them")


def _broker_of(path: Path, server: dict[str, Any], names: list[str]) -> Iterator[Conflict]:
    given = [key for key in ("broker_resource_name", "broker_name") if key in server]
    if not names:
        return
    known = ", ".join(filter(None, names))
    if not given and len(names) > 1:
        yield Conflict(path, f"broker_resource_name is missing: choose one of {known}")
    for key in given:
        name = _text(server[key])
        if name and name not in names:
            yield Conflict(
                (*path, key), f"there is no broker {name!r} in this file, only {known}{did_you_mean(name, names)}"
            )


def _queues(path: Path, server: dict[str, Any]) -> Iterator[Conflict]:
    queues = server.get("queues")
    seen: set[str] = set()
    for position, queue in enumerate(queues if isinstance(queues, list) else []):
        name = _text(queue.get("name") if isinstance(queue, dict) else queue)
        if name and name in seen:
            yield Conflict((*path, "queues", position), f"queue {name!r} is listed twice")
        seen.add(name)


def _tools(path: Path, server: dict[str, Any]) -> Iterator[Conflict]:
    tools = server.get("tools")
    several = isinstance(tools, list)
    for position, tool in enumerate(tools if isinstance(tools, list) else [tools]):
        if isinstance(tool, dict) and "name" in tool and "class" not in tool:
            where = (*path, "tools", position) if several else (*path, "tools")
            yield Conflict((*where, "name"), "requires a class: name the class, or remove the name")


def _env(path: Path, server: dict[str, Any]) -> Iterator[Conflict]:
    """A worker's settings are read before ``env`` is set, so these would hold for its tools at most."""
    given = server.get("env")
    for name in given if isinstance(given, dict) else ():
        if name in _KEY_OF:
            yield Conflict((*path, "env", name), f"cannot be set here: use the key {_KEY_OF[name]}")


def _autoscaling(path: Path, server: dict[str, Any]) -> Iterator[Conflict]:
    section = server.get("kubernetes")
    bounds = section.get("autoscaling") if isinstance(section, dict) else None
    if isinstance(section, dict) and isinstance(bounds, dict):
        least, most = bounds.get("min", 1), bounds.get("max")
        if isinstance(least, int) and isinstance(most, int) and least > most:
            yield Conflict(
                (*path, "kubernetes", "autoscaling", "max"), f"must be at least min ({least:,}), not {most:,}"
            )
        yield from _scaler((*path, "kubernetes"), section, bounds)


def _scaler(path: Path, section: dict[str, Any], bounds: dict[str, Any]) -> Iterator[Conflict]:
    autoscaling = (*path, "autoscaling")
    if section.get("service_monitor") is False:
        yield Conflict((*path, "service_monitor"), "must be true with autoscaling, which follows the queue metrics")
    if bounds.get("scaler", "hpa") == "keda":
        if "prometheus" not in bounds:
            address = "http://prometheus-operated.monitoring:9090"
            yield Conflict(
                autoscaling, f"prometheus is missing: KEDA reads the metrics from it, for example at {address}"
            )
        return
    if "prometheus" in bounds:
        yield Conflict(
            (*autoscaling, "prometheus"),
            "is only for scaler: keda; a HorizontalPodAutoscaler uses the Prometheus adapter",
        )
    if bounds.get("min", 1) == 0:
        yield Conflict(
            (*autoscaling, "min"), "must be at least 1 with a HorizontalPodAutoscaler: write 1, or use scaler: keda"
        )


def _targets(servers: list[tuple[Path, dict[str, Any]]]) -> Iterator[Conflict]:
    taken: set[str] = set()
    for path, server in servers:
        file = _text(server.get("metrics_targets"))
        if file and file in taken:
            yield Conflict((*path, "metrics_targets"), "is already used by another task server: use a different file")
        taken.add(file)


def _ports(servers: list[tuple[Path, dict[str, Any]]]) -> Iterator[Conflict]:
    taken: set[int] = set()
    for path, server in servers:
        port = server.get("metrics_port")
        if not isinstance(port, int) or not port:
            continue
        if port in taken:
            yield Conflict(
                (*path, "metrics_port"), f"port {port} is already used by another task server: use a different port"
            )
        taken.add(port)
