"""Names of objects in Kubernetes, and the labels by which they are found."""

from __future__ import annotations

import re

from taskserver.errors import ConfigError

_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


def object_name(name: str, suffix: str = "") -> str:
    """The name for Kubernetes, which knows neither capitals nor underscores.

    Raises:
        ConfigError: if it can be none.
    """
    made = name.lower().replace("_", "-") + suffix
    if not _LABEL.fullmatch(made):
        raise ConfigError(
            f"{name!r} would be {made!r} in Kubernetes, where names begin with a letter and have at most 63 "
            f"characters: choose another"
        )
    return made


def selector(instance: str, component: str) -> dict[str, str]:
    """The labels that never change, by which pods are chosen."""
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
    """Return ``name`` if a namespace may be called so.

    Raises:
        ConfigError: if not.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
        raise ConfigError(f"{name!r} cannot name a namespace: use at most 63 small letters, digits and '-' inside")
    return name
