"""Text from elsewhere made harmless: nothing that a job says may steer the terminal that shows it.

Error texts, arguments and worker names come from whoever submits jobs and runs workers. An escape sequence among
them could retitle a window, hide lines or forge others; marks that turn the direction of writing could make one
name look like another. Each such character is replaced by its escape instead.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

# C0 without tab and newline, DEL, C1, line and paragraph separators, bidirectional controls (Unicode TR 9, 2.1 to
# 2.4), and lone surrogates, which no terminal's encoding has.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text for people, of any number of lines; what would steer a terminal is replaced by its escape."""
    return _STEERING.sub(_number, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The same on one line: a row of a table, a record of a log."""
    return printable(" ".join(text.split()))


def json_text(value: Any, indent: int = 2) -> str:
    """The value as JSON; on one line if ``indent`` is 0. What steers terminals is escaped as JSON allows."""
    encoded = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=indent)
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", encoded.decode())


def _number(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
