"""Amounts as Kubernetes writes them."""

from __future__ import annotations

from taskserver.config.resources import ComputeResources
from taskserver.errors import ConfigError

_UNITS = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def amount(text: str) -> float:
    """What ``500m`` or ``2Gi`` stands for."""
    number = text.rstrip("mkMGTi")
    return float(number) * _UNITS.get(text[len(number) :], 1)


def check_resources(resources: ComputeResources) -> None:
    """Whether a cluster would take it.

    Raises:
        ConfigError: if more is asked for than may be used.
    """
    for what in ("memory", "cpu"):
        asked, most = getattr(resources.requests, what), getattr(resources.limits, what)
        if asked and most and amount(asked) > amount(most):
            raise ConfigError(f"requests {asked} of {what}, more than its limit of {most}: raise the limit")
