"""Secrets in place of references: which ones must exist, with which keys, and how pods use them.

References of a broker use the Secret ``<broker>-broker``, those of a task server ``<task-server>``. A variable becomes
a key of the same name, a file a key with the name of the file.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from taskserver.config.references import Reference, parts
from taskserver.errors import ConfigError

FOLDER = "/run/secrets/taskserver"
"""Where Secrets are mounted, each in a folder with its name."""


class SecretKey(NamedTuple):
    """One key of a Secret that must exist.

    Attributes:
        secret: The name of the Secret.
        key: The key.
        reference: The reference in the file that it replaces.
    """

    secret: str
    key: str
    reference: Reference

    @property
    def path(self) -> str:
        """Its path in a pod, if it is mounted as a file."""
        return f"{FOLDER}/{self.secret}/{self.key}"


class SecretCollector:
    """The Secret of one broker or task server. Its keys are collected while the configuration is rewritten.

    Args:
        name: The name of the Secret.

    Attributes:
        keys: The keys so far.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.keys: list[SecretKey] = []

    def rewritten(self, value: Any) -> Any:
        """The configuration for a pod: references to files point to where the Secret is mounted.

        Raises:
            ConfigError: if two references would get the same key.
        """
        if isinstance(value, dict):
            return {key: self.rewritten(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.rewritten(each) for each in value]
        return "".join(map(self._part, parts(value))) if isinstance(value, str) and "$" in value else value

    def signing_key(self, source: str) -> str:
        """The reference to a signing key, ``file:/path`` or ``env:NAME``, for a pod.

        Raises:
            ConfigError: if two references would get the same key.
        """
        kind, _, target = source.partition(":")
        key = self._add(Reference(kind, target))
        return source if kind == "env" else f"file:{key.path}"

    def _part(self, part: str | Reference) -> str:
        if isinstance(part, str):
            return part.replace("$", "$$")
        key = self._add(part)
        if part.kind == "file":
            return f"${{file:{key.path}}}"
        return f"${{{part.target}}}" if part.default is None else f"${{{part.target}:-{part.default}}}"

    def _add(self, reference: Reference) -> SecretKey:
        key = reference.target if reference.kind == "env" else _key(reference.target)
        for each in self.keys:
            if each.key == key and (each.reference.kind, each.reference.target) == (reference.kind, reference.target):
                if each.reference.default is not None and reference.default is None:  # it is required somewhere
                    self.keys[self.keys.index(each)] = each._replace(reference=reference)
                return each
            if each.key == key:
                raise ConfigError(
                    f"{each.reference} and {reference} would both be the key {key!r} of the Secret {self.name}: "
                    f"rename one of them"
                )
        self.keys.append(SecretKey(self.name, key, reference))
        return self.keys[-1]


def variables(keys: Iterable[SecretKey]) -> list[dict[str, Any]]:
    """The environment of a pod; of two variables with the same name the first one counts."""
    made: dict[str, dict[str, Any]] = {}
    for each in keys:
        if each.reference.kind == "env":
            chosen: dict[str, Any] = {"name": each.secret, "key": each.key}
            if each.reference.default is not None:
                chosen["optional"] = True
            made.setdefault(each.key, {"name": each.key, "valueFrom": {"secretKeyRef": chosen}})
    return list(made.values())


def volumes(keys: Iterable[SecretKey]) -> list[dict[str, Any]]:
    """The Secrets to mount, each with only the keys that are used as files."""
    mounted: dict[str, list[str]] = {}
    for each in keys:
        if each.reference.kind == "file":
            mounted.setdefault(each.secret, []).append(each.key)
    return [
        {
            "name": f"secret-{position}",
            "secret": {
                "secretName": name,
                "defaultMode": 0o440,
                "items": [{"key": key, "path": key} for key in sorted(found)],
            },
        }
        for position, (name, found) in enumerate(sorted(mounted.items()))
    ]


def secret_commands(keys: Iterable[SecretKey], namespace: str | None) -> list[str]:
    """The commands that create the Secrets, without their values: the shell that runs them inserts those.

    The values go through files and pipes, so that they are not visible in a list of processes.
    """
    by_secret: dict[str, dict[str, Reference]] = {}
    for each in keys:
        by_secret.setdefault(each.secret, {})[each.key] = each.reference
    where = f" -n {namespace}" if namespace else ""
    return [
        f"kubectl create secret generic {name}{where} " + " ".join(_source(key, of) for key, of in found.items())
        for name, found in by_secret.items()
    ]


def _source(key: str, reference: Reference) -> str:
    if reference.kind == "file":
        return f"--from-file={key}={shlex.quote(reference.target)}"
    return f"""--from-file={key}=<(printf %s "${reference.target}")"""


def _key(file: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", PurePosixPath(file).name) or "file"
