"""The loggers of this package, in a process of ours: no module can take them over.

A module that is imported for its tools may configure logging for itself, at once or later: it replaces the handlers of
the root logger, disables every logger that it does not know, or all logging. What a worker logs must be seen all the
same, each line once and in the format that the worker was started with.
"""

from __future__ import annotations

import logging

_ROOT = "taskserver"

_handler: logging.Handler = logging.NullHandler()


class _OwnLogger(logging.Logger):
    """Always enabled from its level on, and always printed by our handler."""

    @property
    def disabled(self) -> bool:
        return False

    @disabled.setter
    def disabled(self, _: bool) -> None:
        return

    @property
    def propagate(self) -> bool:
        return False

    @propagate.setter
    def propagate(self, _: bool) -> None:
        return

    @property
    def handlers(self) -> list[logging.Handler]:
        """Ours, and what else modules have given to the root logger: files and exporters, but no second console."""
        others = [each for each in logging.getLogger().handlers if each is not _handler and not _is_console(each)]
        return [_handler, *others]

    @handlers.setter
    def handlers(self, _: list[logging.Handler]) -> None:
        return

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802
        return level >= self.getEffectiveLevel()  # whatever ``logging.disable`` says


def print_own_lines(handler: logging.Handler, level: str | int) -> None:
    """Let ``handler`` print what the loggers of this package log from ``level`` on, whatever modules configure."""
    global _handler
    _handler = handler
    for name in (_ROOT, *logging.root.manager.loggerDict):
        if name.partition(".")[0] == _ROOT:
            logging.getLogger(name).__class__ = _OwnLogger
    logging.getLogger(_ROOT).setLevel(level)


def _is_console(handler: logging.Handler) -> bool:
    try:
        return handler.stream.fileno() in (1, 2)  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False
