"""Logging as it was: for tests that configure it as a command does, in this process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def restored_logging() -> Iterator[logging.Logger]:
    """The root logger; afterwards, it and the package's loggers are what they were."""
    root = logging.getLogger()
    names = [name for name in root.manager.loggerDict if name.startswith("taskserver.")]
    loggers = [root, *map(logging.getLogger, ("taskserver", *names))]
    before = [(each, each.__class__, each.level) for each in loggers]
    handlers = root.handlers[:]
    try:
        yield root
    finally:
        root.handlers[:] = handlers
        for each, kind, level in before:
            each.__class__ = kind
            each.setLevel(level)
