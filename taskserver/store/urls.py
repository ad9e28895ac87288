"""Broker URLs: which are accepted, and how they are shown without their secrets."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from taskserver.errors import ConfigError

SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix")
OURS = ("socket_timeout", "socket_connect_timeout", "retry_on_timeout", "health_check_interval", "protocol",
        "max_connections", "timeout", "decode_responses")  # fmt: skip
"""Options that a URL may not set: blocking reads and the reading of answers depend on them."""


def check_url(url: str) -> str:
    """Return the URL in the form that the client library takes.

    Raises:
        ConfigError: naming what is wrong with it, without its secrets.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise refusal(url, "the port must be a number, and characters such as '?' in a password be escaped") from None
    if parts.scheme not in SCHEMES:
        raise refusal(url, "it must start with one of " + ", ".join(f"{scheme}://" for scheme in SCHEMES))
    if parts.scheme == "unix" and not parts.path:
        raise refusal(url, "write unix:///path/to/socket")
    if parts.scheme != "unix" and parts.path.strip("/") and not parts.path.strip("/").isdigit():
        raise refusal(url, "behind the host stands a database number, such as /0, or nothing")
    if fixed := [name for name in parse_qs(parts.query) if name in OURS]:
        raise refusal(url, f"leave out {', '.join(fixed)}: taskserver sets it")
    return url.replace("valkey", "redis", 1) if parts.scheme.startswith("valkey") else url


def refusal(url: str, why: str) -> ConfigError:
    """The error for a URL that cannot be one of a broker."""
    return ConfigError(f"{without_secrets(url)!r} is not a broker URL: {why}")


def without_secrets(url: str) -> str:
    """The URL as it may be shown: without user, password and query.

    Where an ``@`` stands behind a ``?``, either may be part of a password, and nothing is shown but the scheme.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url.rpartition("@")[2]
    place, _, query = rest.partition("?")
    return f"{scheme}://" + ("…" if "@" in query else place.rpartition("@")[2])
