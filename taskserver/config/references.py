"""``${NAME}``, ``${NAME:-default}`` and ``${file:/path}`` in the texts of a file: how secrets get there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

MAX_BYTES = 64 * 1024
HOW = "${NAME} for an environment variable, or ${file:/path/to/it}"

_REFERENCE = re.compile(r"\$\$|\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What stands between :// and the last @ before the path: user and password.
_LOGIN = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://(?P<login>[^/]*)@")
_IN_QUERY = re.compile(r"://[^\s]*[?&]\w*password=([^&\s]*)")


class Broken(ValueError):
    """A reference that cannot be followed."""


class Reference(NamedTuple):
    """One reference.

    Attributes:
        kind: ``env`` or ``file``.
        place: The variable's name, or the file's path.
        default: What stands for a variable that is not set or empty; None if there is nothing.
    """

    kind: str
    place: str
    default: str | None = None

    def __str__(self) -> str:
        return f"environment variable {self.place}" if self.kind == "env" else f"file {self.place}"

    def value(self, folder: Path) -> str:
        """What it stands for.

        Args:
            folder: Where a relative path starts.

        Raises:
            Broken: if the variable is not set, or the file cannot be read.
        """
        if self.kind == "file":
            return _content(folder / Path(self.place).expanduser(), self.place)
        found = os.environ.get(self.place) or self.default
        if found is None:
            raise Broken(
                f"the environment variable {self.place} is not set: set it, or write ${{{self.place}:-default}}"
            )
        return found


class Text(str):
    """A text whose references have been followed, so that it may be meant as a number."""

    __slots__ = ()


def pieces(text: str) -> Iterator[str | Reference]:
    """The text in pieces: as it stands, and references. ``$$`` stands for a dollar sign.

    Raises:
        Broken: if something between ``${`` and ``}`` is no reference.
    """
    end = 0
    for found in _REFERENCE.finditer(text):
        yield text[end : found.start()]
        yield "$" if found[0] == "$$" else _reference(found[1])
        end = found.end()
    rest = text[end:]
    if "${" in rest:
        raise Broken("a ${ has no }: close it, or write $${ for the two characters")
    yield rest


def references(text: str) -> list[Reference]:
    """The references of a text, none if it has broken ones."""
    try:
        return [piece for piece in pieces(text) if isinstance(piece, Reference)]
    except Broken:
        return []


def follow(text: str, folder: Path) -> Text:
    """The text with what its references stand for. In user and password of a URL, that is escaped as URLs need it.

    Raises:
        Broken: if one cannot be followed.
    """
    login = _LOGIN.match(_unread(text))
    done: list[str] = []
    position = 0
    for piece in pieces(text):
        if isinstance(piece, Reference):
            value = piece.value(folder)
            inside = login is not None and login.start("login") <= position < login.end("login")
            done.append(quote(value, safe="") if inside else value)
            position += 1
        else:
            done.append(piece)
            position += len(piece)
    return Text("".join(done))


def holds_password(text: str) -> bool:
    """Whether the password of a URL stands in the text itself, or in a default, and not by reference."""
    try:
        whole = list(pieces(text))
    except Broken:
        return False
    if any(holds_password(piece.default or "") for piece in whole if isinstance(piece, Reference)):
        return True
    bare = "".join((piece.default or "") if isinstance(piece, Reference) else piece for piece in whole)
    login = _LOGIN.match(bare)
    inside = [login["login"].partition(":")[2]] if login else []
    return any(filter(None, inside + _IN_QUERY.findall(bare)))


def _unread(text: str) -> str:
    """The text with one character in place of each reference."""
    return "".join("\0" if isinstance(piece, Reference) else piece for piece in pieces(text))


def _reference(inside: str) -> Reference:
    if inside.startswith("file:"):
        if not inside[5:].strip():
            raise Broken("${file:} names no file: write ${file:/path/to/it}")
        return Reference("file", inside[5:].strip())
    name, separator, default = inside.partition(":-")
    if not _NAME.fullmatch(name):
        raise Broken(f"${{{inside}}} is no reference: write {HOW}")
    return Reference("env", name, default if separator else None)


def _content(path: Path, place: str) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Broken(f"the file {place} is longer than {MAX_BYTES // 1024} KiB: that is no secret")
        return path.read_text("utf-8").rstrip("\r\n")
    except OSError as error:
        raise Broken(f"the file {place} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Broken(f"the file {place} is not UTF-8 text") from None
