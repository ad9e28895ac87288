"""The files that the demo works on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from taskserver.errors import ConfigError

MAX_FILES = 300
MAX_FILE_BYTES = 256 * 1024
MAX_BYTES = 2 * 1024 * 1024
"""Limits, in files and bytes, that keep the demo short in any folder."""

_SKIPPED = {"__pycache__", "node_modules", "venv"}


def default_folder() -> Path:
    """The project if the demo runs in its repository, else the installed package."""
    package = Path(__file__).resolve().parents[1]
    repository = package.parent
    inside = Path.cwd() == repository or repository in Path.cwd().parents
    return repository if inside and (repository / "pyproject.toml").is_file() else package


def text_files(folder: Path) -> list[Path]:
    """The text files in ``folder`` and below, in order, up to the limits; no hidden files and no links.

    Raises:
        ConfigError: if there are none.
    """
    found: list[Path] = []
    left = MAX_BYTES
    for path in _walk(folder):
        size = _text_size(path)
        if size is not None and size <= left:
            found.append(path)
            left -= size
        if len(found) == MAX_FILES or left < MAX_FILE_BYTES // 16:
            break
    if not found:
        raise ConfigError(f"no text files in {folder}: use a folder that contains some")
    return found


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder.resolve()):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED and not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


def _text_size(path: Path) -> int | None:
    """The size of a file in bytes if the demo can use it as text, else None."""
    try:
        if path.is_symlink() or not path.is_file() or not 0 < path.stat().st_size <= MAX_FILE_BYTES:
            return None
        str(path).encode()
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return None
    return None if "\0" in text else path.stat().st_size
