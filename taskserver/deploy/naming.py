"""Names of Kubernetes objects, and the labels that select them."""

from __future__ import annotations

import re

from taskserver.errors import ConfigError

_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


def object_name(name: str, suffix: str = "") -> str:
    """The name in Kubernetes, which allows no capitals or underscores.

    Raises:
        ConfigError: if the result is not valid.
    """
    made = name.lower().replace("_", "-") + suffix
    if not _LABEL.fullmatch(made):
        raise ConfigError(
            f"{name!r} becomes {made!r} in Kubernetes, where a name must start with a letter and have at most 63 "
            f"characters: use a different name"
        )
    return made


def selector(instance: str, component: str) -> dict[str, str]:
    """The labels that select pods; they never change."""
    return {
        "app.kubernetes.io/name": "taskserver",
        "app.kubernetes.io/instance": instance,
        "app.kubernetes.io/component": component,
    }


def labels(instance: str, component: str) -> dict[str, str]:
    """All labels of an object."""
    return selector(instance, component) | {
        "app.kubernetes.io/part-of": "taskserver",
        "app.kubernetes.io/managed-by": "taskserver",
    }


def check_namespace(name: str) -> str:
    """Return ``name`` if it is a valid namespace.

    Raises:
        ConfigError: if it is not.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
        raise ConfigError(
            f"{name!r} is not a valid namespace: use 1 to 63 lowercase letters, digits or '-', "
            f"with a letter or digit at both ends"
        )
    return name
