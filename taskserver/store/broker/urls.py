"""Broker URLs: which are accepted, their parts, and how they are shown without their secrets.

====================================================  =====================================================
``redis://user:password@host:port/db?option=value``   one server (``unix:///path`` by its socket)
``redis+sentinel://…@host:port,host:port/service``    the master of ``service``, as these Sentinels name it
``redis+cluster://…@host:port,host:port``             a Redis Cluster, found from any of these nodes
====================================================  =====================================================

``rediss`` is TLS, to Sentinels too; ``valkey`` and ``valkeys`` mean the same as ``redis`` and ``rediss``.

A URL is taken apart here and nowhere else. Logins and options travel as values. A server is named by what is left, such
as ``redis://host:6379/0``, which may be shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

from taskserver.errors import ConfigError
from taskserver.store.broker.options import URLInvalid, read_options

SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix")
KINDS = ("redis+sentinel", "redis+cluster")

Kind = Literal["", "sentinel", "cluster"]

_HOST = re.compile(r"[\w.:%-]+")
_PORTS = {"": 6379, "cluster": 6379, "sentinel": 26379}
ESCAPE = (
    "escape special characters in user, password and options: "
    "%23 for '#', %25 for '%', %26 for '&', %2F for '/', %3A for ':', %3F for '?', %40 for '@'"
)


class Address(NamedTuple):
    """Host and port of a server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Login(NamedTuple):
    """A user and a password, either of which may be missing."""

    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return "Login(…)"


class BrokerURL(NamedTuple):
    """A broker's URL, taken apart.

    Attributes:
        kind: ``sentinel``, ``cluster``, or '' for one server.
        tls: Whether connections are encrypted.
        hosts: Addresses of the Sentinels, of nodes, or of the one server.
        socket: Path of the one server's unix socket; hosts is empty then.
        service: The name by which Sentinels know the master.
        database: Number of the database.
        login: For the servers.
        sentinel_login: For the Sentinels.
        options: The other options, for servers and Sentinels, as the client library takes them.
    """

    kind: Kind
    tls: bool = False
    hosts: tuple[Address, ...] = ()
    socket: str = ""
    service: str = ""
    database: int = 0
    login: Login = Login()
    sentinel_login: Login = Login()
    options: Mapping[str, Any] = {}

    @property
    def name(self) -> str:
        """The URL without login and options. If there is only one server, this is the server's name."""
        if self.socket:
            return f"unix://{self.socket}" + (f"?db={self.database}" if self.database else "")
        if not self.kind:
            return self.server(*self.hosts[0])
        path = f"/{self.service}/{self.database}" if self.kind == "sentinel" else ""
        return f"{self._scheme}+{self.kind}://{','.join(map(str, self.hosts))}{path}"

    @property
    def _scheme(self) -> str:
        return "rediss" if self.tls else "redis"

    def server(self, host: str, port: int) -> str:
        """The name of one server of this broker."""
        return f"{self._scheme}://{Address(host, port)}/{self.database}"

    def arguments(self, server: str) -> dict[str, Any]:
        """What the client library takes to connect to the server of this name."""
        login = {name: value for name, value in self.login._asdict().items() if value}
        common = {**self._options, **login, "db": self.database}
        if self.socket:
            return {"path": self.socket, **common}
        host, _, port = server.partition("://")[2].rpartition("/")[0].rpartition(":")
        return {"host": host.strip("[]"), "port": int(port), **common}

    def sentinel_arguments(self, sentinel: Address) -> dict[str, Any]:
        """What the client library takes to connect to a Sentinel."""
        login = {name: value for name, value in self.sentinel_login._asdict().items() if value}
        return {"host": sentinel.host, "port": sentinel.port, **self._options, **login}

    @property
    def _options(self) -> dict[str, Any]:
        # Without a password for its key, OpenSSL would ask for one at the terminal.
        return {"ssl_password": "", **self.options} if "ssl_certfile" in self.options else dict(self.options)


def parse_url(url: str) -> BrokerURL:
    """Take a broker's URL apart.

    Raises:
        ConfigError: with what is wrong, without its secrets.
    """
    try:
        return _parse(url)
    except URLInvalid as error:
        raise invalid_url(url, str(error)) from None


def _parse(url: str) -> BrokerURL:
    scheme, _, rest = url.partition("://")
    base, _, kind = scheme.partition("+")
    if base not in SCHEMES or kind not in ("", "sentinel", "cluster") or (base == "unix" and kind):
        raise URLInvalid("it must start with one of " + ", ".join(f"{each}://" for each in (*SCHEMES, *KINDS)))
    if hidden := next((character for character in url if not character.isprintable()), ""):
        raise URLInvalid(f"remove {hidden!r} from it")
    address, _, query = rest.partition("?")
    authority, _, path = address.partition("/")
    login, _, names = authority.rpartition("@")
    if "#" in names + path + query or (authority and "@" in path):
        raise URLInvalid(ESCAPE)
    tls = base in ("rediss", "valkeys")
    options = read_options(_query(query), tls=tls)
    logins = [_login(options, "username", "password"), _login(options, "sentinel_username", "sentinel_password")]
    found = BrokerURL(kind, tls, login=_merged(login, logins[0]), sentinel_login=logins[1], options=options)  # type: ignore[arg-type]
    database = options.pop("db", None)
    if base == "unix":
        if names or not path:
            raise URLInvalid("write unix:///path/to/socket")
        return found._replace(socket=f"/{_unquoted(path)}", database=database or 0)
    try:
        return _with_servers(found, names, path, database)
    except URLInvalid as error:
        raise URLInvalid(f"{error}; {ESCAPE}" if "@" in query else str(error)) from None


def _with_servers(url: BrokerURL, names: str, path: str, database: int | None) -> BrokerURL:
    """Add the hosts and what follows them; ``database`` is the one that the options name."""
    service, in_path = _path(url.kind, path)
    hosts = tuple(_address(name, url.kind) for name in names.split(","))
    if url.kind == "cluster" and database:
        raise URLInvalid("a cluster has no other database than 0: remove the option db")
    if len({database, in_path} - {None}) > 1:
        raise URLInvalid("it names two databases, in the path and with the option db: remove one of them")
    if len(hosts) > 1 and not url.kind:
        raise URLInvalid("several servers need redis+sentinel:// or redis+cluster://")
    return url._replace(hosts=hosts, service=service, database=database or in_path or 0)


def _query(query: str) -> dict[str, str]:
    """The options that have a value. ``+`` is not decoded to a space."""
    given: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if value and given.setdefault(_unquoted(name), _unquoted(value)) != _unquoted(value):
            raise URLInvalid("one of its options occurs twice: remove one")
    return given


def _login(options: dict[str, Any], user: str, password: str) -> Login:
    """Take a login out of the options."""
    return Login(options.pop(user, None), options.pop(password, None))


def _merged(login: str, other: Login) -> Login:
    """The login in front of the host, and what the options add to it."""
    user, _, password = login.partition(":")
    merged = Login(_unquoted(user) or other.username, _unquoted(password) or other.password)
    if (other.username or merged.username, other.password or merged.password) != merged:
        raise URLInvalid("it has two logins, in front of the host and in its options: remove one of them")
    return merged


def _path(kind: str, path: str) -> tuple[str, int | None]:
    """The service and the database that a path names."""
    service, _, database = path.partition("/") if kind == "sentinel" else ("", "", path.strip("/"))
    valid = re.fullmatch(r"[0-9]{0,9}", database)
    if kind == "sentinel" and not (service and valid):
        raise URLInvalid(
            "the hosts must be followed by the name of the master, as in redis+sentinel://host:26379/mymaster/0"
        )
    if kind == "cluster" and database not in ("", "0"):
        raise URLInvalid("a cluster has no other database than 0: remove the path after the hosts")
    if not valid:
        raise URLInvalid("the path must be a database number, such as /0, or be left out")
    return _unquoted(service), int(database) if database else None


def _address(text: str, kind: str) -> Address:
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        port = port.removeprefix(":") if bracket else ":"
    else:
        host, _, port = text.partition(":")
    if ":" in port or (":" in host) != text.startswith("["):
        raise URLInvalid("an IPv6 address must be in brackets, as in [::1]:6379")
    host = _unquoted(host) or ("" if kind else "localhost")
    if not _HOST.fullmatch(host):
        raise URLInvalid("write the servers as host:port,host:port" if kind else "the host must be a name or address")
    number = int(port or _PORTS[kind]) if re.fullmatch(r"[0-9]{0,5}", port) else 0
    if not 1 <= number <= 65_535:
        raise URLInvalid("the port must be a number from 1 to 65535")
    return Address(host, number)


def _unquoted(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise URLInvalid("what is escaped with '%' must be UTF-8") from None


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
    return f"{scheme}://" + ("…" if "@" in query else address.rpartition("@")[2].partition("#")[0])
