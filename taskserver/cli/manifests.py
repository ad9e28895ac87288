"""A folder of manifests for kustomize; what somebody else wrote there is never overwritten."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taskserver.deploy import as_yaml
from taskserver.errors import ConfigError

MARK = "# Written by taskserver setup, which writes it anew each time: change the configuration file instead.\n"
INDEX = "kustomization.yaml"


def write_folder(folder: str, groups: Mapping[str, list[dict[str, Any]]], namespace: str | None) -> list[str]:
    """Write a file for each group, and the one that lists them; tell what was done, in sentences.

    Raises:
        ConfigError: if a file there is somebody else's, or cannot be written; nothing is written then.
    """
    place = Path(folder)
    index: dict[str, Any] = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    if namespace:
        index["namespace"] = namespace
    index["resources"] = [f"{name}.yaml" for name in groups]
    texts = {f"{name}.yaml": MARK + as_yaml(*manifests) for name, manifests in groups.items()}
    texts[INDEX] = MARK + as_yaml(index)
    try:
        place.mkdir(parents=True, exist_ok=True)
        foreign = [name for name in texts if (place / name).exists() and not _is_ours(place / name)]
        if foreign:
            raise ConfigError(
                f"{', '.join(foreign)} in {folder} was not written by taskserver setup, and is left as it is: name "
                f"another folder by --output, or remove it"
            )
        old = [path.name for path in sorted(place.glob("*.yaml")) if path.name not in texts and _is_ours(path)]
        for name, text in texts.items():
            (place / name).write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written to: {(error.strerror or str(error)).lower()}") from None
    said = [f"{len(texts)} files are in {folder}; apply them with kubectl apply -k {folder}"]
    return said + [f"{name} in {folder} belongs to nothing in the file any more: remove it" for name in old]


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MARK)) == MARK.encode()
