"""From references to Secrets: which must exist, with which keys, and how a pod gets them.

What a broker refers to is in the Secret ``<broker>-broker``, what a task server refers to in ``<task-server>``. A
variable is a key of its own name, a file one of the file's name.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from taskserver.config.references import Reference, pieces
from taskserver.errors import ConfigError

FOLDER = "/run/secrets/taskserver"
"""Where Secrets are mounted; each has a folder of its own name there."""


class Needed(NamedTuple):
    """One key of a Secret.

    Attributes:
        secret: The Secret's name.
        key: The key in it.
        reference: What stands for it in the file.
    """

    secret: str
    key: str
    reference: Reference

    @property
    def path(self) -> str:
        """Where it is in a pod, if it is a file."""
        return f"{FOLDER}/{self.secret}/{self.key}"


class Secrets:
    """The references of one broker or task server, gathered as its configuration is rewritten.

    Args:
        name: The Secret's name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.needed: list[Needed] = []

    def rewritten(self, value: Any) -> Any:
        """Data for a pod: variables stay references to variables, files become references to where they are mounted.

        Raises:
            ConfigError: if two files would be one key.
        """
        if isinstance(value, dict):
            return {key: self.rewritten(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.rewritten(each) for each in value]
        return "".join(map(self._piece, pieces(value))) if isinstance(value, str) and "$" in value else value

    def signing_key(self, place: str) -> str:
        """The place of a signing key, ``file:/path`` or ``env:NAME``, as it is in a pod.

        Raises:
            ConfigError: if two files would be one key.
        """
        kind, _, what = place.partition(":")
        needed = self._add(Reference(kind, what))
        return place if kind == "env" else f"file:{needed.path}"

    def _piece(self, piece: str | Reference) -> str:
        if isinstance(piece, str):
            return piece.replace("$", "$$")
        needed = self._add(piece)
        if piece.kind == "file":
            return f"${{file:{needed.path}}}"
        return f"${{{piece.place}}}" if piece.default is None else f"${{{piece.place}:-{piece.default}}}"

    def _add(self, reference: Reference) -> Needed:
        key = reference.place if reference.kind == "env" else _key(reference.place)
        for each in self.needed:
            if each.key == key and (each.reference.kind, each.reference.place) == (reference.kind, reference.place):
                if each.reference.default is not None and reference.default is None:  # somewhere it has no default
                    self.needed[self.needed.index(each)] = each._replace(reference=reference)
                return each
            if each.key == key:
                raise ConfigError(
                    f"the {each.reference} and the {reference} would be one key, {key}, of the Secret {self.name}: "
                    f"give one of them another name"
                )
        self.needed.append(Needed(self.name, key, reference))
        return self.needed[-1]


def variables(needed: Iterable[Needed]) -> list[dict[str, Any]]:
    """The environment of a pod; the first of two that are called alike counts."""
    made: dict[str, dict[str, Any]] = {}
    for each in needed:
        if each.reference.kind == "env":
            chosen: dict[str, Any] = {"name": each.secret, "key": each.key}
            if each.reference.default is not None:
                chosen["optional"] = True
            made.setdefault(each.key, {"name": each.key, "valueFrom": {"secretKeyRef": chosen}})
    return list(made.values())


def volumes(needed: Iterable[Needed]) -> list[dict[str, Any]]:
    """The Secrets that are mounted, each with those keys only that are referred to as files."""
    keys: dict[str, list[str]] = {}
    for each in needed:
        if each.reference.kind == "file":
            keys.setdefault(each.secret, []).append(each.key)
    return [
        {
            "name": f"secret-{position}",
            "secret": {
                "secretName": name,
                "defaultMode": 0o440,
                "items": [{"key": key, "path": key} for key in sorted(found)],
            },
        }
        for position, (name, found) in enumerate(sorted(keys.items()))
    ]


def commands(needed: Iterable[Needed], namespace: str | None) -> list[str]:
    """For each Secret the command that makes it, without values: the shell that runs it puts them in.

    The values go through files and pipes, so that no list of processes shows them.
    """
    by_secret: dict[str, dict[str, Reference]] = {}
    for each in needed:
        by_secret.setdefault(each.secret, {})[each.key] = each.reference
    where = f" -n {namespace}" if namespace else ""
    return [
        f"kubectl create secret generic {name}{where} " + " ".join(_source(key, of) for key, of in found.items())
        for name, found in by_secret.items()
    ]


def _source(key: str, reference: Reference) -> str:
    if reference.kind == "file":
        return f"--from-file={key}={shlex.quote(reference.place)}"
    return f"""--from-file={key}=<(printf %s "${reference.place}")"""


def _key(file: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", PurePosixPath(file).name) or "file"
