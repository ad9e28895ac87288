"""What is kept out of sight: values that go by a secret's name, in data that are shown and in texts that are logged.

A name is looked at word by word (``apiKey``, ``API_KEY`` and ``api-key`` are the same two words), so that
``max_tokens`` and ``author`` are none. Names that say nothing are told by whoever declares or submits them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from taskserver.domain.limits import MAX_DEPTH

MASK = "[secret]"
SHORTEST = 4
"""Characters of the shortest value that is looked for in texts: a shorter one would be found everywhere."""
MOST = 1_000
"""Values that are looked for in one text."""

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_ANYWHERE = frozenset(
    ("password", "passwords", "passwd", "pwd", "passphrase", "passphrases", "passcode", "secret", "secrets",
     "credential", "credentials", "authorization", "cookie", "cookies", "apikey", "apikeys")
)  # fmt: skip
_LAST = frozenset(("token", "auth", "jwt", "creds"))
_PAIRS = frozenset(
    tuple(pair.split())
    for pair in ("pass word", "pass phrase", "api key", "api keys", "private key", "private keys", "access key",
                 "session key", "signing key", "encryption key", "auth key", "auth header", "access tokens",
                 "refresh tokens", "auth tokens", "api tokens")
)  # fmt: skip
# What stands before the last @ of a URL's host (RFC 3986, section 3.2.1): user and password.
_USER_OF_URL = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]*://)([^\s/?#\"'<>]*)@")


@lru_cache(maxsize=4096)
def words(name: str) -> tuple[str, ...]:
    """A name's words in lower case; digits count as gaps."""
    return tuple(word.lower() for word in _WORD.findall(name[:200]))


@lru_cache(maxsize=4096)
def looks_secret(name: str) -> bool:
    """Whether a field of this name holds a secret, as far as the name says."""
    parts = words(name)
    return (
        not _ANYWHERE.isdisjoint(parts)
        or (bool(parts) and parts[-1] in _LAST)
        or not _PAIRS.isdisjoint(pairwise(parts))
    )


class SecretNames:
    """Decides by a field's name whether its value is kept out of sight.

    Args:
        told: Names that are secret besides those that look so; however they are written.
    """

    __slots__ = ("_told",)

    def __init__(self, told: Collection[str] = ()) -> None:
        self._told = frozenset(words(name) or (name,) for name in told)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        return looks_secret(name) or (bool(self._told) and (words(name) or (name,)) in self._told)


def masked(value: Any, names: SecretNames, depth: int = 0) -> Any:
    """Plain data for showing: without secrets and passwords of URLs, keys as texts, nothing that is too deep."""
    if depth > MAX_DEPTH:
        return "…"
    if isinstance(value, dict):
        return {
            _text(key): MASK if key in names and item is not None else masked(item, names, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [masked(item, names, depth + 1) for item in value]
    return without_passwords(value) if isinstance(value, str) else value


class Redactor:
    """Takes values out of texts.

    Args:
        values: The values, as ``secret_values`` finds them.
    """

    __slots__ = ("_forms", "_hopeless")

    def __init__(self, values: Iterable[str]) -> None:
        wanted = {value for value in values if len(value) >= SHORTEST}
        self._hopeless = len(wanted) > MOST
        forms = set() if self._hopeless else {form for value in wanted for form in _forms(value)}
        self._forms = sorted(forms, key=len, reverse=True)  # one may be part of another

    def __call__(self, text: str) -> str:
        """The text without the values, and without users and passwords of URLs."""
        if self._hopeless:
            return f"(left out: the job has more than {MOST:,} secret values)"
        for form in self._forms:
            text = text.replace(form, MASK)
        return without_passwords(text)


def without_passwords(text: str) -> str:
    """The text without users and passwords of URLs."""
    return _USER_OF_URL.sub(rf"\1{MASK}@", text) if "://" in text else text


def secret_values(value: Any, names: SecretNames, inside: bool = False, depth: int = 0) -> Iterator[str]:
    """The values in plain data that go by a secret's name, or stand inside one that does; and passwords in URLs."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            yield from secret_values(item, names, inside or key in names, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from secret_values(item, names, inside, depth + 1)
    elif inside and isinstance(value, (str, bytes, int)) and not isinstance(value, bool):
        yield _text(value)
    elif isinstance(value, str) and "://" in value:
        for user in _USER_OF_URL.finditer(value):
            password = user[2].partition(":")[2]
            yield from (password, unquote(password))


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _forms(value: str) -> Iterator[str]:
    """How a value may stand in a text: as it is, as Python, JSON or a URL writes it, and line by line."""
    yield value
    yield repr(value)[1:-1]
    yield json.dumps(value)[1:-1]
    yield quote(value, safe="", errors="replace")
    yield quote_plus(value, errors="replace")
    yield from (line for line in value.splitlines() if len(line) >= 2 * SHORTEST)
