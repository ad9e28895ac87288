"""How a worker's process ends: in what time, with which codes, and what becomes of a worker that cannot continue.

Such a worker ends at once. Without one of its services it would keep the leases of jobs that nobody runs. It ends with
its process, but only if that is its own: a program that contains a worker is not the worker's to end.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import NoReturn

RELEASE_SECONDS = 6.0
"""How long attempts that are handed back may take to end; a little longer than the executor waits for each."""
SETTLE_SECONDS = 5.0
"""How long a stopping worker tries to send its last settlements to a broker that does not answer."""
LAST_SECONDS = 2.0
"""How long it may take to end its heartbeats and to leave its queues."""
EXIT_SECONDS = 2.0
"""How long threads, exit hooks and child processes of tools may hold up the end of the process."""
LEAVE_SECONDS = RELEASE_SECONDS + SETTLE_SECONDS + LAST_SECONDS + EXIT_SECONDS
"""A worker's process has ended this long after its grace period, whatever its broker and its tools do."""

EXIT_BROKEN = 70
"""Exit code of a worker that ended itself because it could not continue (EX_SOFTWARE in sysexits.h)."""

EXIT_RECYCLE = 75
"""Exit code of a worker that let its jobs end and wants to be replaced by a fresh one (EX_TEMPFAIL there)."""

log = logging.getLogger("taskserver.worker")


def quit_now(why: str) -> NoReturn:
    """End this process at once. There may be no memory left: the reason is logged if that is possible."""
    with suppress(Exception):
        log.critical("%s: this worker ends itself", why)
        logging.shutdown()
    os._exit(EXIT_BROKEN)


ending: ContextVar[Callable[[str], object]] = ContextVar("ending", default=quit_now)
"""How the worker of this context ends when it cannot continue; called from any thread, with the reason."""


def give_up(why: str) -> None:
    """End the worker of this context, because it cannot continue."""
    ending.get()(why)
