"""Makes untrusted text harmless, so that it cannot control the terminal that shows it.

Error messages, arguments and worker names come from other people. An escape sequence in them could change a window's
title, or hide or forge lines; marks that change the direction of writing could make one name look like another. Each
such character is replaced by an escape.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

# C0 without tab and newline, DEL, C1, line and paragraph separators, bidirectional controls (Unicode TR 9, 2.1 to
# 2.4), and lone surrogates, which no terminal's encoding has.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_NOT_FINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}


def printable(text: str) -> str:
    """The text, of any number of lines, with control characters escaped."""
    return _CONTROLS.sub(_number, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The text on one line, with control characters escaped."""
    return printable(" ".join(text.split()))


def json_text(value: Any, indent: int = 2) -> str:
    """The value as JSON, on one line if ``indent`` is 0, with control characters escaped.

    What JSON does not have is marked: NaN and infinities are ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``. A key that
    is not text is written as text, with its type if another key is written the same.
    """
    encoded = msgspec.json.format(msgspec.json.encode(_sayable(value), enc_hook=str), indent=indent)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", encoded.decode())


def _sayable(value: Any) -> Any:
    """Plain data as JSON can say it."""
    if isinstance(value, float) and not math.isfinite(value):
        return _NOT_FINITE.get(value, "NaN")
    if type(value) is dict:
        return _with_text_keys(value)
    return [_sayable(item) for item in value] if type(value) in (list, tuple) else value


def _with_text_keys(value: dict[Any, Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for key, item in value.items():
        name = key
        if not isinstance(key, str):
            name = json_text(key, 0).strip('"')
            while name in named or name in value:
                name += f" ({type(key).__name__})"
        named[name] = _sayable(item)
    return named


def _number(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
