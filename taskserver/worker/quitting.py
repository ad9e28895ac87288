"""The last resort of a worker that cannot go on: its process ends, at once, and its jobs go to others.

That is better than to live on without one of its services: it would keep the leases of jobs that nobody runs.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import NoReturn

EXIT_BROKEN = 70
"""Exit code of a worker that ended itself (EX_SOFTWARE in sysexits.h)."""

log = logging.getLogger("taskserver.worker")


def quit_now(why: str) -> NoReturn:
    """End this process. Memory may be out: whatever it takes to tell why is tried, and no more."""
    with suppress(Exception):
        log.critical("%s: this worker ends itself", why)
        logging.shutdown()
    os._exit(EXIT_BROKEN)
