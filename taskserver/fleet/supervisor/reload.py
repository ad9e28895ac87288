"""For development: call back when source files change.

Files are checked a few times a second. That also works in containers and on network file systems, where the operating
system reports no changes.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

from taskserver.fleet.sources import Stamp, stamp

LOOK_SECONDS = 0.4

log = logging.getLogger("taskserver.supervisor")


async def watch(files: Callable[[], dict[str, Stamp]], changed: Callable[[], None]) -> None:
    """Call ``changed`` when files have changed and been at rest since: editors write several files, and in pieces.

    Args:
        files: Returns the files and their stamps when they were loaded; called before every look.
        changed: Called once for changes that belong together.
    """
    seen: dict[str, Stamp] = {}
    pending: set[str] = set()
    while True:
        seen = files() | seen  # however late we look, what a replica was loaded from counts
        now = {name: stamp(name) for name in seen}
        just_changed = {name for name in now if seen[name] != now[name]}
        seen = now
        pending |= just_changed
        if pending and not just_changed:
            log.info("%s changed: replacing the replicas", ", ".join(sorted(map(os.path.relpath, pending))))
            pending.clear()
            changed()
        await asyncio.sleep(LOOK_SECONDS)
