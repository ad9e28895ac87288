"""Manifests as YAML; equal manifests give equal bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Writes strings of several lines as blocks, and no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def as_yaml(*documents: Any) -> str:
    """The documents as one stream."""
    made: Iterable[str] = (
        yaml.dump(each, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120) for each in documents
    )
    return "---\n".join(made)
