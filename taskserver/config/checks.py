"""What must fit together in a configuration file, beyond each value by itself.

These checks look at the data as they stand in the file, so that they find what is wrong also where other values are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from taskserver.config.document import Path
from taskserver.config.references import HOW, Reference, Text, holds_password, pieces
from taskserver.config.resources import ALIASES
from taskserver.domain.names import did_you_mean
from taskserver.domain.secrets import looks_secret, words

Finding = tuple[Path, str]


def is_secret(path: Path) -> bool:
    """Whether what stands there is a secret, as far as its key says; the name of a file with one is none."""
    key = path[-1] if path else ""
    return isinstance(key, str) and looks_secret(key) and words(key)[-1] not in ("file", "path", "dir")


def plain_secret(path: Path, text: str) -> str | None:
    """What to say if a secret stands in the file itself; None if there is none."""
    if is_secret(path):
        stands = [
            piece.default if isinstance(piece, Reference) else piece
            for piece in pieces(text)
        ]  # fmt: skip
        if any(stands):
            return f"a secret does not stand in the file: write {HOW}"
    if holds_password(text):
        return "a password does not stand in a URL: put a reference in its place, as in redis://user:${REDIS_PASSWORD}@host:6379"
    return None


def findings(data: dict[str, Any]) -> Iterator[Finding]:
    """Everything that does not fit together."""
    brokers = list(_parts(data, "broker"))
    servers = list(_parts(data, "task_server"))
    yield from _alike(brokers, "redis", "broker")
    yield from _alike(servers, "task_server", "task server")
    for path, broker in brokers:
        yield from _broker(path, broker)
    names = [_text(broker.get("name", "redis")) for _, broker in brokers]
    for path, server in servers:
        yield from _aliases(path, server)
        yield from _broker_of(path, server, names)
        yield from _queues(path, server)
        yield from _tools(path, server)
        yield from _autoscaling(path, server)
    yield from _ports(servers)
    yield from _targets(servers)


def _parts(data: dict[str, Any], key: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    given = data.get(key)
    if isinstance(given, dict):
        yield (key,), given
    elif isinstance(given, list):
        yield from (((key, position), each) for position, each in enumerate(given) if isinstance(each, dict))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _alike(parts: list[tuple[Path, dict[str, Any]]], default: str, what: str) -> Iterator[Finding]:
    seen: set[str] = set()
    for path, part in parts:
        name = _text(part.get("name", default))
        if name and name in seen:
            yield (*path, "name"), f"another {what} is called {name!r} already: give each a name of its own"
        seen.add(name)


def _broker(path: Path, broker: dict[str, Any]) -> Iterator[Finding]:
    if "url" in broker:
        if "data" in broker:
            yield (*path, "data"), "is for the embedded broker, and this one has a url: leave one of them out"
        if broker.get("password") and "@" in _text(broker["url"]) and not isinstance(broker["url"], Text):
            yield (*path, "password"), "stands in the url too: leave one of them out"
    else:
        for key in ("username", "password"):
            if key in broker:
                yield (*path, key), "needs a url: the embedded broker has neither users nor passwords"
    if "username" in broker and "password" not in broker and "url" in broker:
        yield (*path, "username"), "needs a password: write password: ${NAME} or ${file:/path/to/it}"


def _aliases(path: Path, server: dict[str, Any]) -> Iterator[Finding]:
    for alias, key in ALIASES.items():
        if alias in server and key in server:
            yield (*path, alias), f"means the same as {key}: leave one of them out"


def _broker_of(path: Path, server: dict[str, Any], names: list[str]) -> Iterator[Finding]:
    said = [key for key in ("broker_resource_name", "broker_name") if key in server]
    if not names:
        return
    known = ", ".join(filter(None, names))
    if not said and len(names) > 1:
        yield path, f"broker_resource_name is missing, and there are several brokers: {known}"
    for key in said:
        name = _text(server[key])
        if name and name not in names:
            yield (*path, key), f"no broker {name!r} in this file, only {known}{did_you_mean(name, names)}"


def _queues(path: Path, server: dict[str, Any]) -> Iterator[Finding]:
    queues = server.get("queues")
    seen: set[str] = set()
    for position, queue in enumerate(queues if isinstance(queues, list) else []):
        name = _text(queue.get("name") if isinstance(queue, dict) else queue)
        if name and name in seen:
            yield (*path, "queues", position), f"the queue {name!r} stands there twice"
        seen.add(name)


def _tools(path: Path, server: dict[str, Any]) -> Iterator[Finding]:
    tools = server.get("tools")
    several = isinstance(tools, list)
    for position, tool in enumerate(tools if isinstance(tools, list) else [tools]):
        if isinstance(tool, dict) and "name" in tool and "class" not in tool:
            place = (*path, "tools", position) if several else (*path, "tools")
            yield (*place, "name"), "is for one class of a module: say which by class, or leave the name out"


def _autoscaling(path: Path, server: dict[str, Any]) -> Iterator[Finding]:
    section = server.get("kubernetes")
    bounds = section.get("autoscaling") if isinstance(section, dict) else None
    if isinstance(section, dict) and isinstance(bounds, dict):
        least, most = bounds.get("min", 1), bounds.get("max")
        if isinstance(least, int) and isinstance(most, int) and least > most:
            yield (*path, "kubernetes", "autoscaling", "max"), f"must be at least min, {least:,}, not {most:,}"
        yield from _scaler((*path, "kubernetes"), section, bounds)


def _scaler(path: Path, section: dict[str, Any], bounds: dict[str, Any]) -> Iterator[Finding]:
    place = (*path, "autoscaling")
    if section.get("service_monitor") is False:
        yield (*path, "service_monitor"), "must be true with autoscaling, which follows the metrics of all queues"
    if bounds.get("scaler", "hpa") == "keda":
        if "prometheus" not in bounds:
            where = "http://prometheus-operated.monitoring:9090"
            yield place, f"prometheus is missing: KEDA asks it how many jobs wait, so write its address, {where}"
        return
    if "prometheus" in bounds:
        yield (*place, "prometheus"), "is for scaler: keda; a HorizontalPodAutoscaler asks the Prometheus adapter"
    if bounds.get("min", 1) == 0:
        yield (*place, "min"), "must be at least 1 with a HorizontalPodAutoscaler: write 1, or scaler: keda"


def _targets(servers: list[tuple[Path, dict[str, Any]]]) -> Iterator[Finding]:
    taken: set[str] = set()
    for path, server in servers:
        file = _text(server.get("metrics_targets"))
        if file and file in taken:
            yield (*path, "metrics_targets"), "is another task server's file already: give each a file of its own"
        taken.add(file)


def _ports(servers: list[tuple[Path, dict[str, Any]]]) -> Iterator[Finding]:
    taken: set[int] = set()
    for path, server in servers:
        port = server.get("metrics_port")
        if not isinstance(port, int) or not port:
            continue
        if port in taken:
            yield (*path, "metrics_port"), f"port {port} is taken by another task server of this file already"
        taken.add(port)
