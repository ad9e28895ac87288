"""The file in which Prometheus finds replicas (``file_sd_configs``), whose ports are not known in advance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from taskserver.errors import ConfigError
from taskserver.files import replacing


def write_targets(path: Path, targets: Mapping[str, tuple[str, int]], labels: Mapping[str, str] | None = None) -> None:
    """Write the file atomically: Prometheus reads it whenever it changes.

    Args:
        path: The file; its folder must exist.
        targets: Host and port of each replica, by the replica's name, which becomes the label ``replica``.
        labels: Labels for all replicas.

    Raises:
        ConfigError: if the file cannot be written.
    """
    groups = [
        {
            "targets": [f"[{host}]:{port}" if ":" in host else f"{host}:{port}"],
            "labels": {**(labels or {}), "replica": name},
        }
        for name, (host, port) in sorted(targets.items())
    ]
    try:
        with replacing(path, 0o644) as file:  # Prometheus is another user; there is no secret in it
            json.dump(groups, file, indent=2)
            file.write("\n")
    except OSError as error:
        raise ConfigError(f"could not write the targets for Prometheus to {path}: {error.strerror}") from None


def remove_targets(path: Path) -> None:
    """Remove the file when there is nothing left to scrape; harmless when repeated."""
    with suppress(OSError):
        path.unlink()
