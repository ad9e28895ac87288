"""References in configuration values: ``${NAME}``, ``${NAME:-default}`` and ``${file:/path}``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from taskserver.config.texts import TextInvalid, checked, read_text

MAX_BYTES = 64 * 1024
REFERENCE_HINT = "${NAME} for an environment variable, or ${file:/path/to/it}"

_REFERENCE = re.compile(r"\$\$|\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# User and password: everything from :// to the last @ before the path.
_LOGIN = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://(?P<login>[^/]*)@")
# What precedes the value of an option in the query of a broker's URL.
_OPTION = re.compile(r"^(rediss?|valkeys?|unix)(\+[a-z]+)?://[^?]*\?([^&]*&)*[^&=]+=[^&]*$")
_IN_QUERY = re.compile(r"://[^\s]*[?&]\w*password=([^&\s]*)")


class ReferenceInvalid(ValueError):
    """A reference that cannot be resolved."""


class Reference(NamedTuple):
    """One reference.

    Attributes:
        kind: ``env`` or ``file``.
        target: The variable's name, or the file's path.
        default: The value if the variable is empty or not set; None if there is no default.
    """

    kind: str
    target: str
    default: str | None = None

    def __str__(self) -> str:
        return f"environment variable {self.target}" if self.kind == "env" else f"file {self.target}"

    def value(self, folder: Path) -> str:
        """The value that it refers to.

        Args:
            folder: The folder that relative paths start from.

        Raises:
            ReferenceInvalid: if the variable is not set, or the file cannot be read.
        """
        if self.kind == "file":
            read = partial(read_text, folder / Path(self.target).expanduser(), MAX_BYTES)
        else:
            read = partial(checked, os.environ.get(self.target, ""))
        try:
            found = read() or (self.default if self.kind == "env" else "")
        except TextInvalid as error:
            raise ReferenceInvalid(f"{self} {error}") from None
        if found is None:
            raise ReferenceInvalid(f"{self} is not set: set it, or write ${{{self.target}:-default}}")
        return found


class ResolvedText(str):
    """A string whose references have been resolved. It may be meant as a number."""

    __slots__ = ()


def parts(text: str) -> Iterator[str | Reference]:
    """The text, split into plain strings and references. ``$$`` is a dollar sign.

    Raises:
        ReferenceInvalid: if the text contains something like a reference that is none.
    """
    end = 0
    for found in _REFERENCE.finditer(text):
        yield text[end : found.start()]
        yield "$" if found[0] == "$$" else _reference(found[1])
        end = found.end()
    rest = text[end:]
    if "${" in rest:
        raise ReferenceInvalid("a ${ is not closed: add }, or write $${ for the two characters")
    yield rest


def references(text: str) -> list[Reference]:
    """The references in a text; none if one of them is not valid."""
    try:
        return [part for part in parts(text) if isinstance(part, Reference)]
    except ReferenceInvalid:
        return []


def resolve(text: str, folder: Path) -> ResolvedText:
    """The text with its references resolved.

    In the user and password of a URL, and in the options of a broker's, the values are percent-encoded.

    Raises:
        ReferenceInvalid: if a reference cannot be resolved.
    """
    masked = _masked(text)
    login = _LOGIN.match(masked)
    done: list[str] = []
    position = 0
    for part in parts(text):
        if isinstance(part, Reference):
            value = part.value(folder)
            inside = login is not None and login.start("login") <= position < login.end("login")
            done.append(quote(value, safe="") if inside or _OPTION.match(masked[:position]) else value)
            position += 1
        else:
            done.append(part)
            position += len(part)
    return ResolvedText("".join(done))


def has_plain_password(text: str) -> bool:
    """Whether a URL contains a password in plain text, also in the default of a reference."""
    try:
        whole = list(parts(text))
    except ReferenceInvalid:
        return False
    if any(has_plain_password(part.default or "") for part in whole if isinstance(part, Reference)):
        return True
    bare = "".join((part.default or "") if isinstance(part, Reference) else part for part in whole)
    login = _LOGIN.match(bare)
    inside = [login["login"].partition(":")[2]] if login else []
    return any(filter(None, inside + _IN_QUERY.findall(bare)))


def _masked(text: str) -> str:
    """The text with one character in place of each reference."""
    return "".join("\0" if isinstance(part, Reference) else part for part in parts(text))


def _reference(inside: str) -> Reference:
    if inside.startswith("file:"):
        if not inside[5:].strip():
            raise ReferenceInvalid("${file:} has no path: write ${file:/path/to/it}")
        return Reference("file", inside[5:].strip())
    name, separator, default = inside.partition(":-")
    if not _NAME.fullmatch(name):
        raise ReferenceInvalid(f"${{{inside}}} is not a valid reference: write {REFERENCE_HINT}")
    return Reference("env", name, default if separator else None)
