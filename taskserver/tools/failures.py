"""Exceptions as data: what is stored about an attempt that failed."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from taskserver.domain.job import Failure
from taskserver.domain.secrets import without_passwords
from taskserver.errors import ArgumentsInvalid, MessageError, PermanentError, RaisedInProcess, ResultInvalid

MESSAGE_CHARACTERS = 4_000
TRACEBACK_CHARACTERS = 16_000
_PERMANENT = (PermanentError, ArgumentsInvalid, ResultInvalid, MessageError)
_PACKAGE = Path(__file__).resolve().parents[1]
_MACHINERY = (str(_PACKAGE / "worker"), str(_PACKAGE / "tools"))


def is_permanent(error: BaseException) -> bool:
    """Whether another attempt would only fail in the same way."""
    return isinstance(error, _PERMANENT)


def failure_of(error: BaseException, redact: Callable[[str], str] = without_passwords) -> Failure:
    """What is stored of an exception: its type's name, its message, and the traceback from the tool's own code on.

    Args:
        error: The exception.
        redact: Masks the attempt's secrets in text. Text is cut only after that: part of a secret would not be found.
    """
    full = unredacted_failure(error)
    return Failure(
        full.type,
        _cut(redact(full.message), MESSAGE_CHARACTERS),
        _cut(redact(full.traceback), TRACEBACK_CHARACTERS),
    )


def unredacted_failure(error: BaseException) -> Failure:
    """The whole failure, secrets included; for an error from another process, as that process reported it."""
    if isinstance(error, RaisedInProcess):
        return Failure(error.error_type, error.error_message, error.traceback)
    return Failure(_name(type(error)), _text(error), _traceback(error))


def _name(kind: type[BaseException]) -> str:
    """The qualified name; our own errors without their module, which scripts that store such an error do not know."""
    known = kind.__module__.partition(".")[0] in ("builtins", "taskserver")
    return kind.__qualname__ if known else f"{kind.__module__}.{kind.__qualname__}"


def _text(error: BaseException) -> str:
    try:
        return str(error).encode("utf-8", "replace").decode()
    except Exception:  # noqa: BLE001 - an exception's own __str__ may raise anything
        return "(its message cannot be shown)"


def _traceback(error: BaseException) -> str:
    outside = _skip_machinery(error.__traceback__)
    if outside is None:  # not raised by the tool, but perhaps caused by an error that was
        return _traceback(error.__cause__) if error.__cause__ else ""
    lines = traceback.format_exception(type(error), error, outside)
    return "".join(lines).encode("utf-8", "replace").decode()


def _skip_machinery(frame: TracebackType | None) -> TracebackType | None:
    """The first frame outside the worker: people look for errors in their own code."""
    while frame is not None and frame.tb_frame.f_code.co_filename.startswith(_MACHINERY):
        frame = frame.tb_next
    return frame


def _cut(text: str, limit: int) -> str:
    """Leave out the middle of a long text: the end of a traceback says most."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"
