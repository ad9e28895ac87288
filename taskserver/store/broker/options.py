"""The options in the query of a broker's URL: which there are, and how their values are read."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

RESERVED = ("socket_timeout", "socket_connect_timeout", "retry_on_timeout", "health_check_interval", "protocol",
        "max_connections", "timeout", "decode_responses")  # fmt: skip
"""Options that a URL may not set, since blocking reads and the parsing of answers depend on them."""
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class URLInvalid(Exception):
    """What is wrong with a URL, without its secrets."""


class OptionKind(NamedTuple):
    """A kind of value: what an error says that it must be, and how it is read. ``read`` raises ValueError."""

    expected: str
    read: Callable[[str], Any]


def _one_of(values: Mapping[str, Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if text.lower() not in values:
            raise ValueError
        return values[text.lower()]

    return read


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError
    return int(text)


def _verify_flags(text: str) -> list[ssl.VerifyFlags]:
    names = [name.strip().upper() for name in text.strip("[]").split(",")]
    if not set(names) <= set(ssl.VerifyFlags.__members__):
        raise ValueError
    return [ssl.VerifyFlags[name] for name in names]


_FLAGS = {
    **dict.fromkeys(("1", "t", "true", "y", "yes", "on"), True),
    **dict.fromkeys(("0", "f", "false", "n", "no", "off"), False),
}
_TEXT = OptionKind("text", str)
_FLAG = OptionKind("true or false", _one_of(_FLAGS))
_NUMBER = OptionKind("a whole number", _natural)
_REQUIREMENT = OptionKind(
    "none, optional or required", _one_of({each: each for each in ("none", "optional", "required")})
)
_VERSION = OptionKind("1.2 or 1.3", _one_of({**_VERSIONS, **{str(int(each)): each for each in _VERSIONS.values()}}))
_VERIFY_FLAGS = OptionKind("names of ssl.VerifyFlags, separated by commas", _verify_flags)

OPTIONS: Mapping[str, OptionKind] = {
    "username": _TEXT,
    "password": _TEXT,
    "db": _NUMBER,
    "sentinel_username": _TEXT,
    "sentinel_password": _TEXT,
    "client_name": _TEXT,
    "lib_name": _TEXT,
    "lib_version": _TEXT,
    "encoding": _TEXT,
    "encoding_errors": _TEXT,
    "socket_read_size": _NUMBER,
    "socket_keepalive": _FLAG,
    "ssl_ca_certs": _TEXT,
    "ssl_ca_path": _TEXT,
    "ssl_ca_data": _TEXT,
    "ssl_certfile": _TEXT,
    "ssl_keyfile": _TEXT,
    "ssl_password": _TEXT,
    "ssl_cert_reqs": _REQUIREMENT,
    "ssl_check_hostname": _FLAG,
    "ssl_ciphers": _TEXT,
    "ssl_min_version": _VERSION,
    "ssl_include_verify_flags": _VERIFY_FLAGS,
    "ssl_exclude_verify_flags": _VERIFY_FLAGS,
}
"""Every option, as the client library names it."""


def read_options(given: Mapping[str, str], *, tls: bool) -> dict[str, Any]:
    """The values of options.

    Args:
        given: Their texts by name.
        tls: Whether options for TLS are allowed.

    Raises:
        URLInvalid: with what is wrong. It shows no value, and no unknown name beside a password, which may be a piece
            of it.
    """
    if fixed := [name for name in given if name in RESERVED]:
        raise URLInvalid(f"remove {', '.join(fixed)}: taskserver sets it")
    if unknown := [name for name in given if name not in OPTIONS]:
        secret = any("password" in name for name in given)
        which = "it has an unknown option" if secret else f"it has no option {unknown[0]!r}"
        raise URLInvalid(f"{which}; write %26 for '&' in a value; the options are {', '.join(OPTIONS)}")
    if not tls and (useless := [name for name in given if name.startswith("ssl_")]):
        raise URLInvalid(f"{useless[0]} is for TLS: write rediss:// instead of redis://, or remove it")
    values = {}
    for name, text in given.items():
        try:
            values[name] = OPTIONS[name].read(text)
        except ValueError:
            raise URLInvalid(f"the value of its option {name} must be {OPTIONS[name].expected}") from None
    return values
