"""Exceptions as data: what is stored about an attempt that failed."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from taskserver.domain.job import Failure
from taskserver.domain.secrets import without_passwords
from taskserver.errors import ArgumentsInvalid, MessageError, PermanentError, RaisedInProcess, ResultInvalid

TYPE_CHARACTERS = 200
MESSAGE_CHARACTERS = 4_000
TRACEBACK_CHARACTERS = 16_000
MOST_LEAVES = 10
"""Maximum number of different errors of a group that are listed."""
MOST_CAUSES = 50
"""Maximum length of a chain of causes, or depth of groups, in which a permanent error is looked for."""
_PERMANENT = (PermanentError, ArgumentsInvalid, ResultInvalid, MessageError)
_PACKAGE = Path(__file__).resolve().parents[1]
_MACHINERY = (str(_PACKAGE / "worker"), str(_PACKAGE / "tools"))


def is_permanent(error: BaseException) -> bool:
    """Whether another attempt would only fail in the same way.

    That is so for a permanent error, for one that was raised ``from`` a permanent one, and for a group of nothing else.
    """
    return _is_permanent(error, MOST_CAUSES, {})


def _is_permanent(error: BaseException, depth: int, known: dict[int, bool]) -> bool:
    """As above; ``known`` holds answers by the error's id, because errors may share causes, and be in circles."""
    if id(error) not in known:
        known[id(error)] = False
        if isinstance(error, BaseExceptionGroup):
            found = depth > 0 and all(_is_permanent(each, depth - 1, known) for each in error.exceptions)
        else:
            cause = error.__cause__ if depth > 0 else None
            found = isinstance(error, _PERMANENT) or (cause is not None and _is_permanent(cause, depth - 1, known))
        known[id(error)] = found
    return known[id(error)]


def failure_of(error: BaseException, redact: Callable[[str], str] = without_passwords) -> Failure:
    """What is stored of an exception: its type's name, its message, and the traceback from the tool's own code on.

    Type and message of a group are those of the errors in it. Text is cut only after secrets in it were masked: part of
    a secret would not be found. So whatever is stored or sent of an error comes from here, whole.

    Args:
        error: The exception.
        redact: Masks the attempt's secrets in text.
    """
    full = _whole(error)
    return Failure(
        _start(redact(full.type), TYPE_CHARACTERS),
        _cut(redact(full.message), MESSAGE_CHARACTERS),
        _cut(redact(full.traceback), TRACEBACK_CHARACTERS),
    )


def _whole(error: BaseException) -> Failure:
    """The whole failure, secrets included; for an error from another process, as that process reported it."""
    if isinstance(error, RaisedInProcess):
        return Failure(error.error_type, error.error_message, error.traceback)
    return Failure(*type_and_text(error), _traceback(error))


def type_and_text(error: BaseException) -> tuple[str, str]:
    """The name of an error's type, and its message; of a group, those of the errors in it, each once and sorted.

    Sorted, because tasks fail in any order, and equal failures should look equal.
    """
    found = sorted({(_name(type(leaf)), _text(leaf)) for leaf in _leaves(error)})
    if len(found) == 1:
        return found[0]
    listed = [f"{name}: {text}" for name, text in found[:MOST_LEAVES]]
    if len(found) > MOST_LEAVES:
        listed.append(f"and {len(found) - MOST_LEAVES:,} more")
    return ", ".join(sorted({name for name, _ in found})), "; ".join(listed)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group and in its groups; the error itself if it is not a group."""
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(each.exceptions)
        else:
            yield each


def _name(kind: type[BaseException]) -> str:
    """The qualified name; our own errors without their module, which scripts that store such an error do not know."""
    known = kind.__module__.partition(".")[0] in ("builtins", "taskserver")
    name = kind.__qualname__ if known else f"{kind.__module__}.{kind.__qualname__}"
    return name.encode("utf-8", "replace").decode()


_IN_LOOP = "only async tools run in the event loop: make the function, or the method run, async"
_PATCHED = "a library patches the event loop, which uvloop does not allow: start the worker with --loop asyncio"
_HINTS = {
    "Can't patch loop": _PATCHED,
    "event loop is already running": f"the tool is async and runs in one: await the coroutine; or {_PATCHED}",
    "SQLite objects created in a thread": "each attempt of a sync tool has its own thread: connect inside run, or use "
    "runs_in='process'",
    "signal only works in main thread": "sync tools run in threads: use runs_in='process'",
    "no running event loop": _IN_LOOP,
    "There is no current event loop in thread": _IN_LOOP,
    "cannot be called from a running event loop": "the tool is async and runs in one: await the coroutine",
}
"""What to do about errors of where a tool runs, by a part of their messages."""


def _text(error: BaseException) -> str:
    try:
        text = str(error).encode("utf-8", "replace").decode()
    except Exception:  # noqa: BLE001 - an exception's own __str__ may raise anything
        return "(its message cannot be shown)"
    hints = [hint for part, hint in _HINTS.items() if part in text[:MESSAGE_CHARACTERS]]
    return "; ".join([text.rstrip("."), *hints]) if hints else text


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


def _start(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _cut(text: str, limit: int) -> str:
    """Leave out the middle of a long text: the end of a traceback says most. What was cut is not cut again."""
    if len(text) <= limit:
        return text
    half = limit // 2 - 30  # the line between them is shorter than twice that
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"
