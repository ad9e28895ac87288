"""The addresses of brokers as pods need them: URL and ports, and whether a cluster can reach them."""

from __future__ import annotations

import re
from typing import NamedTuple

from taskserver.config.references import Reference, parts
from taskserver.config.resources import BrokerResource
from taskserver.errors import ConfigError
from taskserver.store.broker.urls import parse_url

_LOCAL = re.compile(r"^(localhost|127\.[0-9.]+|\[::1\]|::1)(:|$)")
_PORT = re.compile(r":(\d+)$")
_SERVERS, _SENTINELS = 6379, 26379


class BrokerAddress(NamedTuple):
    """How pods reach a broker.

    Attributes:
        url: The URL, with its references.
        ports: The TCP ports.
        guessed: Why the ports are a guess, with {} in place of the broker's name; '' if the URL has them.
    """

    url: str
    ports: list[int]
    guessed: str


def address_of(broker: BrokerResource) -> BrokerAddress:
    """How pods reach a broker.

    Raises:
        ConfigError: if they cannot reach it.
    """
    if not broker.url:
        raise ConfigError(
            "is missing: a cluster cannot reach an embedded broker; write the URL of another one, such as ${REDIS_URL}"
        )
    url = "".join(map(_for_pods, parts(broker.url)))
    bare = "".join("\0" if isinstance(part, Reference) else part for part in parts(url))
    scheme, separator, rest = bare.partition("://")
    if not separator:
        return BrokerAddress(url, [_SERVERS], "the port of broker {} is in a Secret")
    hosts = re.split(r"[/?]", rest.rpartition("@")[2] if "@" in rest else rest)[0]
    if _is_local(bare):
        raise ConfigError("is only reachable on this machine: write the address that pods can reach")
    if "\0" in hosts:
        return BrokerAddress(url, [_SERVERS], "the port of broker {} is in a Secret")
    parse_url(bare.replace("\0", "x"))
    default = _SENTINELS if scheme.endswith("+sentinel") else _SERVERS
    ports = [int(found[1]) if (found := _PORT.search(host)) else default for host in hosts.split(",")]
    if default == _SENTINELS:
        return BrokerAddress(
            url, list(dict.fromkeys([*ports, _SERVERS])), "the port of broker {} is known only to its Sentinels"
        )
    return BrokerAddress(url, list(dict.fromkeys(ports)), "")


def _for_pods(part: str | Reference) -> str:
    """A part of the URL, without a default that only works on this machine."""
    if isinstance(part, str):
        return part.replace("$", "$$")
    if part.kind == "file":
        return f"${{file:{part.target}}}"
    if not part.default or _is_local(part.default):
        return f"${{{part.target}}}"
    return f"${{{part.target}:-{part.default}}}"


def _is_local(url: str) -> bool:
    scheme, _, rest = url.partition("://")
    return scheme == "unix" or bool(_LOCAL.match(rest.rpartition("@")[2] if rest else url))
