"""Secrets by reference: a setting says where a key is, never what it is.

The references are ``file:/path`` and ``env:NAME``; those of configuration files, ``${…}``, are something else.
"""

from __future__ import annotations

import os
from pathlib import Path

from taskserver.config.settings import settings
from taskserver.config.texts import TextInvalid, read_variable, tidied_bytes
from taskserver.domain.signing import KEY_BYTES, Keyring
from taskserver.errors import ConfigError

_HINT = "write file:/path/to/the/key or env:NAME_OF_A_VARIABLE"


def keyring(references: str | None = None) -> Keyring | None:
    """The keys with which a process signs and verifies; None if it has no keys.

    Args:
        references: ``file:…`` and ``env:…``, separated by spaces or commas; None for those of the setting, empty for
            no keys.

    Raises:
        ConfigError: if a reference is not valid or cannot be resolved.
    """
    known = settings()
    if references is None:
        references = known.signing_keys.get_secret_value() if known.signing_keys else ""
    sources = references.replace(",", " ").split()
    if not sources:
        return None
    keys = [_key(source, number) for number, source in enumerate(sources, 1)]
    return Keyring(keys, round(known.signature_ttl * 1000))


def read_secret(reference: str, what: str) -> bytes:
    """The secret that a reference points to, without a byte order mark and line end.

    Args:
        reference: ``file:…`` or ``env:…``.
        what: Its name in an error message.

    Raises:
        ConfigError: if the reference cannot be resolved, or is not valid. Then it may be the secret itself, and the
            message does not repeat it.
    """
    kind, _, target = reference.partition(":")
    if kind == "file" and target:
        return _content(Path(target).expanduser(), what)
    if kind == "env" and target.isidentifier():
        value = read_variable(target)
        if not value:
            raise ConfigError(f"{what}: environment variable {target} is not set")
        return os.fsencode(value)
    raise ConfigError(f"{what} must be a reference: {_HINT}")


def _content(path: Path, what: str) -> bytes:
    try:
        return tidied_bytes(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{what}: file {path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except TextInvalid as error:
        raise ConfigError(f"{what}: file {path} {error}") from None


def _key(source: str, number: int) -> bytes:
    what = f"signing key {number} (TASKSERVER_SIGNING_KEYS)"
    key = read_secret(source, what)
    if len(key) < KEY_BYTES:
        raise ConfigError(
            f"{what} at {source} has {len(key)} bytes; it must have at least {KEY_BYTES}: "
            "create one with openssl rand -hex 32"
        )
    return key
