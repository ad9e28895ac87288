"""The README for package indexes, where links into the repository need its address; run by hatchling."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)]+)\)")


class ReadmeHook(MetadataHookInterface):
    """Sets the description of the package."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Take the README, with links to the tag of this version."""
        text = Path(self.root, "README.md").read_text("utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": with_links(text, metadata["urls"]["Source"], f"v{metadata['version']}"),
        }


def with_links(text: str, source: str, tag: str) -> str:
    """A text in Markdown whose relative links lead to the repository; images lead to their bytes."""

    def absolute(link: re.Match[str]) -> str:
        image, label, path = link.groups()
        return f"{image}[{label}]({source}/{'raw' if image else 'blob'}/{tag}/{path})"

    return _LINK.sub(absolute, text)
