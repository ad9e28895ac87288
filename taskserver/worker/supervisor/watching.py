"""For development: replicas are replaced when a source file changes.

Files are looked at, a few times a second: that works in containers and on network folders too, where no system tells of
changes.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable

LOOK_SECONDS = 0.4

Stamp = tuple[int, int] | None

log = logging.getLogger("taskserver.supervisor")


async def watch(files: Callable[[], Iterable[str]], changed: Callable[[], None]) -> None:
    """Call ``changed`` whenever files have changed, and have rested since: editors write several, and in pieces.

    Args:
        files: Which files; asked before every look.
        changed: Called once for changes that belong together.
    """
    seen: dict[str, Stamp] = {}
    unrested: set[str] = set()
    while True:
        now = {name: _stamp(name) for name in files()}
        moved = {name for name, stamp in now.items() if name in seen and seen[name] != stamp}
        seen |= now
        unrested |= moved
        if unrested and not moved:
            log.info("%s changed: the replicas are replaced", ", ".join(sorted(map(os.path.relpath, unrested))))
            unrested.clear()
            changed()
        await asyncio.sleep(LOOK_SECONDS)


def _stamp(name: str) -> Stamp:
    try:
        status = os.stat(name)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
