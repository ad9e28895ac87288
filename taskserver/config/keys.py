"""Secrets by reference: a setting says where a key is, never what it is."""

from __future__ import annotations

import os
from pathlib import Path

from taskserver.config.settings import settings
from taskserver.domain.signing import KEY_BYTES, Keyring
from taskserver.errors import ConfigError

HOW = "write file:/path/to/the/key or env:NAME_OF_A_VARIABLE"


def keyring(references: str | None = None) -> Keyring | None:
    """The keys that a process signs and checks with; None if it has none.

    Args:
        references: ``file:…`` and ``env:…``, spaces or commas between them; None for the setting's, empty for none.

    Raises:
        ConfigError: naming the reference that cannot be followed, or that is none.
    """
    known = settings()
    if references is None:
        references = known.signing_keys.get_secret_value() if known.signing_keys else ""
    places = references.replace(",", " ").split()
    if not places:
        return None
    keys = [_key(place, number) for number, place in enumerate(places, 1)]
    return Keyring(keys, round(known.signature_ttl * 1000))


def secret_behind(reference: str, what: str) -> bytes:
    """What a reference stands for; a line's end behind it is left out.

    Args:
        reference: ``file:…`` or ``env:…``.
        what: How to call it in an error.

    Raises:
        ConfigError: if it leads nowhere, or is no reference: then it may be the secret itself, and is not repeated.
    """
    kind, _, place = reference.partition(":")
    if kind == "file" and place:
        return _content(Path(place).expanduser(), what)
    if kind == "env" and place.isidentifier():
        value = os.environ.get(place, "")
        if not value:
            raise ConfigError(f"{what}: the environment variable {place} is not set")
        return os.fsencode(value).rstrip(b"\r\n")
    raise ConfigError(f"{what} is not a reference, and nothing else is taken: {HOW}")


def _content(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise ConfigError(f"{what}: the file {path} cannot be read: {error.strerror}") from None


def _key(place: str, number: int) -> bytes:
    what = f"signing key {number} (TASKSERVER_SIGNING_KEYS)"
    key = secret_behind(place, what)
    if len(key) < KEY_BYTES:
        raise ConfigError(
            f"{what} at {place} has {len(key)} bytes, but needs {KEY_BYTES} or more: make one with openssl rand -hex 32"
        )
    return key
