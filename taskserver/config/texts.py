"""Texts from files and variables, without what cannot be seen in them.

Editors put a byte order mark in front, and a line end behind; a file of variables with Windows line ends leaves a
carriage return behind each value. All that is dropped. Anything else that cannot be seen is an error that shows it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

PREFIX = "TASKSERVER_"
"""The beginning of every environment variable of the package."""
_MARK = "\N{BYTE ORDER MARK}"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_HIDDEN = re.compile(rf"{_MARK}|\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class TextInvalid(ValueError):
    """Why a text cannot be used, to follow a name of it; it does not contain the text."""


def variable(setting: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + setting.upper()


def tidied(text: str) -> str:
    """The text without a byte order mark in front of it and line ends behind it."""
    return text.removeprefix(_MARK).rstrip("\r\n")


def checked(text: str) -> str:
    """``tidied``, if all the rest can be seen; line ends inside a text are in order.

    Raises:
        TextInvalid: if it contains a control character.
    """
    text = tidied(text)
    if hidden := _HIDDEN.search(text):
        raise TextInvalid(f"contains {hidden[0]!r}, which cannot be seen: remove it")
    return text


def read_variable(name: str) -> str:
    """An environment variable, tidied; empty if it is not set."""
    return tidied(os.environ.get(name, ""))


def read_text(path: Path, limit: int) -> str:
    """The text in a file, checked.

    Args:
        path: The file.
        limit: The largest file, in bytes.

    Raises:
        TextInvalid: if it cannot be read, is too large, or is not a text in UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise TextInvalid(f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    if len(content) > limit:
        raise TextInvalid(f"is larger than {limit // 1024} KiB, the limit for a value")
    if content.startswith(_UTF_16):
        raise TextInvalid("is UTF-16 text: save it as UTF-8")
    try:
        return checked(content.decode())
    except UnicodeDecodeError:
        raise TextInvalid("is not UTF-8 text") from None


def tidied_bytes(content: bytes) -> bytes:
    """The same as ``tidied`` for a secret of any bytes.

    Raises:
        TextInvalid: if it is text in UTF-16.
    """
    if content.startswith(_UTF_16) and b"\0" in content[:8]:
        raise TextInvalid("is UTF-16 text: save it as UTF-8")
    return content.removeprefix(_MARK.encode()).rstrip(b"\r\n")
