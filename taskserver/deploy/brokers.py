"""Brokers as pods see them: which port they have, and whether they can be reached from a cluster at all."""

from __future__ import annotations

import re
from typing import NamedTuple

from taskserver.config.references import Reference, pieces
from taskserver.config.resources import BrokerResource
from taskserver.errors import ConfigError
from taskserver.store.broker.urls import parse_url

_HERE = re.compile(r"^(localhost|127\.[0-9.]+|\[::1\]|::1)(:|$)")
_PORT = re.compile(r":(\d+)$")
_SERVERS, _SENTINELS = 6379, 26379


class Reach(NamedTuple):
    """How pods reach a broker.

    Attributes:
        url: The text of the URL, with its references.
        ports: The TCP ports.
        guessed: Why those are guessed, with {} in place of the broker's name; '' if they stand there.
    """

    url: str
    ports: list[int]
    guessed: str


def reach(broker: BrokerResource) -> Reach:
    """How pods reach it.

    Raises:
        ConfigError: if they cannot.
    """
    if not broker.url:
        raise ConfigError(
            "is missing: an embedded broker cannot be reached from a cluster; write the address of one that can, "
            "url: ${REDIS_URL}"
        )
    url = "".join(map(_usable, pieces(broker.url)))
    bare = "".join("\0" if isinstance(piece, Reference) else piece for piece in pieces(url))
    scheme, separator, rest = bare.partition("://")
    if not separator:
        return Reach(url, [_SERVERS], "the address of broker {} is in a Secret")
    hosts = re.split(r"[/?]", rest.rpartition("@")[2] if "@" in rest else rest)[0]
    if _is_here(bare):
        raise ConfigError("is on this machine only: write the broker's address as pods reach it")
    if "\0" in hosts:
        return Reach(url, [_SERVERS], "the address of broker {} is in a Secret")
    parse_url(bare.replace("\0", "x"))
    default = _SENTINELS if scheme.endswith("+sentinel") else _SERVERS
    ports = [int(found[1]) if (found := _PORT.search(host)) else default for host in hosts.split(",")]
    if default == _SENTINELS:
        return Reach(url, list(dict.fromkeys([*ports, _SERVERS])), "Sentinels tell where the server of broker {} is")
    return Reach(url, list(dict.fromkeys(ports)), "")


def _usable(piece: str | Reference) -> str:
    """A piece as it stands; a default that is only of use on one machine is none for pods."""
    if isinstance(piece, str):
        return piece.replace("$", "$$")
    if piece.kind == "file":
        return f"${{file:{piece.place}}}"
    if not piece.default or _is_here(piece.default):
        return f"${{{piece.place}}}"
    return f"${{{piece.place}:-{piece.default}}}"


def _is_here(url: str) -> bool:
    scheme, _, rest = url.partition("://")
    return scheme == "unix" or bool(_HERE.match(rest.rpartition("@")[2] if rest else url))
