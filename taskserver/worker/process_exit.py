"""How a worker's process ends: its exit codes, and the last resort of a worker that cannot continue.

Such a worker ends at once. Without one of its services it would keep the leases of jobs that nobody runs.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import NoReturn

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
