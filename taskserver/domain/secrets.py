"""Masks secrets: values of fields with secret names, in data that is shown and in text that is logged.

Names are split into words (``apiKey``, ``API_KEY`` and ``api-key`` are the same two), so that ``max_tokens`` and
``author`` do not look secret. Secret fields with other names have to be declared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from taskserver.domain.messages import MAX_DEPTH

MASK = "[secret]"
SHORTEST = 4
"""Shortest value, in characters, that is searched for in text: a shorter one would be found everywhere."""
MOST = 1_000
"""Maximum number of values that are searched for in one text."""

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
# User and password: the part before the last @ of a URL's authority (RFC 3986, section 3.2.1).
# It begins at "://" and not at the scheme: in text without URLs, each word might begin one, and be gone over again.
_USER_OF_URL = re.compile(r"://([^\s/?#\"'<>]*)@")
# A parameter of a URL's query or fragment (sections 3.4 and 3.5), or of a connection string: separator, name, value.
_PARAMETER = re.compile(r"([?&;#])([\w.~%+-]{1,100})=([^\s&;#\"'<>]+)")
_SECRET_PARAMETERS = frozenset((("key",), ("subscription", "key")))
_SECRET_ENDS = frozenset(("sig", "signature"))


@lru_cache(maxsize=4096)
def words(name: str) -> tuple[str, ...]:
    """A name's words in lower case; digits separate words."""
    return tuple(word.lower() for word in _WORD.findall(name[:200]))


@lru_cache(maxsize=4096)
def looks_secret(name: str) -> bool:
    """Whether a field's name looks as if it held a secret."""
    parts = words(name)
    return (
        not _ANYWHERE.isdisjoint(parts)
        or (bool(parts) and parts[-1] in _LAST)
        or not _PAIRS.isdisjoint(pairwise(parts))
    )


def _is_secret_parameter(name: str) -> bool:
    """Whether a parameter of a URL looks secret: there, ``key`` and signatures do as well."""
    parts = words(unquote_plus(name))
    return (
        parts in _SECRET_PARAMETERS or (bool(parts) and parts[-1] in _SECRET_ENDS) or looks_secret(unquote_plus(name))
    )


class SecretNames:
    """The names of secret fields: those that look secret, and those that are declared.

    Args:
        declared: Declared names; ``pinCode`` also means ``pin_code``.
    """

    __slots__ = ("_declared",)

    def __init__(self, declared: Collection[str] = ()) -> None:
        self._declared = frozenset(words(name) or (name,) for name in declared)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        return looks_secret(name) or (bool(self._declared) and (words(name) or (name,)) in self._declared)


def masked(value: Any, names: SecretNames, depth: int = 0) -> Any:
    """Plain data to be shown: secrets, also in URLs, are masked, keys are strings, and depth is limited."""
    if depth > MAX_DEPTH:
        return "…"
    if isinstance(value, dict):
        return {
            _shown(key, value): MASK if key in names and item is not None else masked(item, names, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [masked(item, names, depth + 1) for item in value]
    return without_passwords(value) if isinstance(value, str) else value


class Redactor:
    """Masks secret values in text.

    Args:
        values: The values, as ``secret_values`` finds them.
    """

    __slots__ = ("_forms", "_too_many")

    def __init__(self, values: Iterable[str]) -> None:
        wanted = {value for value in values if len(value) >= SHORTEST}
        self._too_many = len(wanted) > MOST
        forms = set() if self._too_many else {form for value in wanted for form in _forms(value)}
        self._forms = sorted(forms, key=len, reverse=True)  # longest first: one may be part of another

    def __call__(self, text: str) -> str:
        """The text with the values masked, and what ``without_passwords`` masks."""
        if self._too_many:
            return f"(hidden: the job has more than {MOST:,} secret values)"
        for form in self._forms:
            text = text.replace(form, MASK)
        return without_passwords(text)


def without_passwords(text: str) -> str:
    """The text with users, passwords and secret parameters in URLs masked."""
    if "://" in text:
        text = _USER_OF_URL.sub(f"://{MASK}@", text)
    return _PARAMETER.sub(_without_value, text) if "=" in text else text


def _without_value(parameter: re.Match[str]) -> str:
    separator, name, _ = parameter.groups()
    return f"{separator}{name}={MASK}" if _is_secret_parameter(name) else parameter[0]


def secret_values(value: Any, names: SecretNames, inside: bool = False, depth: int = 0) -> Iterator[str]:
    """The values of secret fields in plain data, everything inside such fields, and what is secret in URLs."""
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
        yield from _secrets_in_url(value)


def _secrets_in_url(text: str) -> Iterator[str]:
    for user in _USER_OF_URL.finditer(text):
        password = user[1].partition(":")[2]
        yield from (password, unquote(password))
    for _, name, value in _PARAMETER.findall(text):
        if _is_secret_parameter(name):
            yield from (value, unquote_plus(value))


def _shown(key: Any, mapping: dict[Any, Any]) -> str:
    """A key as text, with its type if a key that is text looks the same."""
    text = _text(key)
    return f"{text} ({type(key).__name__})" if not isinstance(key, str) and text in mapping else text


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _forms(value: str) -> Iterator[str]:
    """How a value may be written in text: as it is, escaped by Python, JSON or a URL, and line by line."""
    yield value
    yield repr(value)[1:-1]
    yield json.dumps(value)[1:-1]
    yield quote(value, safe="", errors="replace")
    yield quote_plus(value, errors="replace")
    yield from (line for line in value.splitlines() if len(line) >= 2 * SHORTEST)
