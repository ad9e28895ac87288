"""Broker URLs: which are accepted, their parts, and how they are shown without their secrets.

====================================================  =====================================================
``redis://user:password@host:port/db?option=value``   one server (``unix:///path`` by its socket)
``redis+sentinel://…@host:port,host:port/service``    the master of ``service``, as these Sentinels name it
``redis+cluster://…@host:port,host:port``             a Redis Cluster, found from any of these nodes
====================================================  =====================================================

``rediss`` is TLS, to Sentinels too; ``valkey`` and ``valkeys`` mean the same as ``redis`` and ``rediss``.
"""

from __future__ import annotations

from typing import Literal, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from taskserver.errors import ConfigError

SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix")
KINDS = ("redis+sentinel", "redis+cluster")
RESERVED_OPTIONS = ("socket_timeout", "socket_connect_timeout", "retry_on_timeout", "health_check_interval", "protocol",
        "max_connections", "timeout", "decode_responses")  # fmt: skip
"""Options that a URL may not set, since blocking reads and the parsing of answers depend on them."""
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
"""Options that are for the Sentinels; all others are for the servers."""

Kind = Literal["", "sentinel", "cluster"]


class Address(NamedTuple):
    """Host and port of a server."""

    host: str
    port: int


class BrokerURL(NamedTuple):
    """A broker's URL, taken apart.

    Attributes:
        kind: ``sentinel``, ``cluster``, or '' for one server.
        url: The whole URL as the client library takes it; only useful for one server.
        hosts: Addresses of the Sentinels or nodes.
        service: The name by which Sentinels know the master.
        login: ``user:password@`` or ''.
        tail: Database and options for a server, as they follow its host.
        sentinel_login: The login for Sentinels.
    """

    kind: Kind
    url: str
    hosts: tuple[Address, ...] = ()
    service: str = ""
    login: str = ""
    tail: str = ""
    sentinel_login: str = ""

    def server(self, host: str, port: int) -> str:
        """URL of one server of this broker."""
        return f"{self._scheme}://{self.login}{_bracketed(host)}:{port}{self.tail}"

    def sentinels(self) -> list[str]:
        """URLs of the Sentinels."""
        options = self.tail.partition("?")[1:]
        return [
            f"{self._scheme}://{self.sentinel_login}{_bracketed(host)}:{port}/{''.join(options)}"
            for host, port in self.hosts
        ]

    @property
    def _scheme(self) -> str:
        return self.url.partition("://")[0].partition("+")[0]


def parse_url(url: str) -> BrokerURL:
    """Take a broker's URL apart.

    Raises:
        ConfigError: with what is wrong, without its secrets.
    """
    scheme, _, rest = url.partition("://")
    base, _, kind = scheme.partition("+")
    if base not in SCHEMES or kind not in ("", "sentinel", "cluster") or (base == "unix" and kind):
        raise invalid_url(url, "it must start with one of " + ", ".join(f"{each}://" for each in (*SCHEMES, *KINDS)))
    whole = url.replace("valkey", "redis", 1) if base.startswith("valkey") else url
    address, _, query = rest.partition("?")
    options = parse_qsl(query)
    if fixed := [name for name, _ in options if name in RESERVED_OPTIONS]:
        raise invalid_url(url, f"remove {', '.join(fixed)}: taskserver sets it")
    if not kind:
        _check_server(url)
        return BrokerURL("", whole)
    servers, _, path = address.partition("/")
    login, at, names = servers.rpartition("@")
    hosts = tuple(_address(url, name, 26379 if kind == "sentinel" else 6379) for name in names.split(","))
    if kind == "cluster":
        if path not in ("", "0"):
            raise invalid_url(url, "a cluster has no other database than 0: remove the path after the hosts")
        return BrokerURL("cluster", whole, hosts, login=login + at, tail=_tail("0", options))
    service, _, database = path.partition("/")
    if not service or not (database or "0").isdigit():
        raise invalid_url(
            url, "the hosts must be followed by the name of the master, as in redis+sentinel://host:26379/mymaster/0"
        )
    return BrokerURL(
        "sentinel", whole, hosts, service, login + at, _tail(database or "0", options), _login_for_sentinels(options)
    )


def _check_server(url: str) -> None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise invalid_url(
            url, "the port must be a number, and characters such as '?' in a password must be escaped"
        ) from None
    if parts.scheme == "unix":
        if not parts.path:
            raise invalid_url(url, "write unix:///path/to/socket")
    elif parts.path.strip("/") and not parts.path.strip("/").isdigit():
        raise invalid_url(url, "the path must be a database number, such as /0, or be left out")


def _address(url: str, name: str, default: int) -> Address:
    try:
        parts = urlsplit(f"//{name}")
        if not parts.hostname:
            raise ValueError("no host")
        return Address(parts.hostname, parts.port or default)
    except ValueError:
        raise invalid_url(
            url, "write the servers as host:port,host:port, and escape special characters in a password"
        ) from None


def _tail(database: str, options: list[tuple[str, str]]) -> str:
    rest = urlencode([option for option in options if option[0] not in SENTINEL_OPTIONS])
    return f"/{database}" + (f"?{rest}" if rest else "")


def _login_for_sentinels(options: list[tuple[str, str]]) -> str:
    given = dict(options)
    user, password = (urlencode({"": given.get(name, "")})[1:] for name in SENTINEL_OPTIONS)
    return f"{user}:{password}@" if user or password else ""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def invalid_url(url: str, why: str) -> ConfigError:
    """The error for a URL that is not a broker's."""
    return ConfigError(f"{without_secrets(url)!r} is not a broker URL: {why}")


def without_secrets(url: str) -> str:
    """The URL as it may be shown: without user, password and query.

    With an ``@`` after a ``?``, either may be part of a password, and only the scheme is shown.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url.rpartition("@")[2]
    address, _, query = rest.partition("?")
    return f"{scheme}://" + ("…" if "@" in query else address.rpartition("@")[2])
