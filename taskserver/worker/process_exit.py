"""How the process of a worker says why it ended, and its last resort: when it cannot go on, it ends at once.

That is better than to live on without one of its services: it would keep the leases of jobs that nobody runs.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import NoReturn

EXIT_BROKEN = 70
"""Exit code of a worker that ended itself because it could not go on (EX_SOFTWARE in sysexits.h)."""

EXIT_RECYCLE = 75
"""Exit code of a worker that let its jobs end and wants to be replaced by a fresh one (EX_TEMPFAIL)."""

log = logging.getLogger("taskserver.worker")


def quit_now(why: str) -> NoReturn:
    """End this process. Memory may be out: whatever it takes to tell why is tried, and no more."""
    with suppress(Exception):
        log.critical("%s: this worker ends itself", why)
        logging.shutdown()
    os._exit(EXIT_BROKEN)
