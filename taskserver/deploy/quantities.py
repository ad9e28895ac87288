"""Amounts of compute resources in the notation of Kubernetes."""

from __future__ import annotations

from taskserver.config.resources import ComputeResources
from taskserver.errors import ConfigError

_UNITS = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def amount(text: str) -> float:
    """The value of ``500m`` or ``2Gi``."""
    number = text.rstrip("mkMGTi")
    return float(number) * _UNITS.get(text[len(number) :], 1)


def check_resources(resources: ComputeResources) -> None:
    """Check that no request is above its limit, which a cluster would refuse.

    Raises:
        ConfigError: if one is.
    """
    for what in ("memory", "cpu"):
        asked, most = getattr(resources.requests, what), getattr(resources.limits, what)
        if asked and most and amount(asked) > amount(most):
            raise ConfigError(f"requests {asked} of {what}, above the limit of {most}: raise the limit")
