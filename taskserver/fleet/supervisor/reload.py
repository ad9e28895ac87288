"""For development: replicas are replaced when a source file changes.

Files are looked at, a few times a second: that works in containers and on network folders too, where no system tells of
changes.
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
    """Call ``changed`` whenever files have changed, and have rested since: editors write several, and in pieces.

    Args:
        files: Which files, and how they were when they were loaded; asked before every look.
        changed: Called once for changes that belong together.
    """
    seen: dict[str, Stamp] = {}
    unrested: set[str] = set()
    while True:
        seen = files() | seen  # what a replica was made from counts, however late it is looked at
        now = {name: stamp(name) for name in seen}
        moved = {name for name in now if seen[name] != now[name]}
        seen = now
        unrested |= moved
        if unrested and not moved:
            log.info("%s changed: the replicas are replaced", ", ".join(sorted(map(os.path.relpath, unrested))))
            unrested.clear()
            changed()
        await asyncio.sleep(LOOK_SECONDS)
