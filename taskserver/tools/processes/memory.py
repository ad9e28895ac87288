"""Measures and limits the memory of a process.

Resident memory can be measured on every system, but only after it was allocated. On Linux the kernel also refuses
memory beyond ``RLIMIT_DATA`` (getrlimit(2)): private memory that can be written to, touched or not. macOS does not
enforce that limit.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_LINUX = sys.platform == "linux"


async def resident_bytes(pid: int | None = None) -> int | None:
    """Resident memory of a process, by default this one; None if it has ended or cannot be measured."""
    pid = pid or os.getpid()
    return _from_proc(pid) if _LINUX else await from_ps(pid)


def _from_proc(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return None


async def from_ps(pid: int) -> int | None:
    """As ``resident_bytes``, by POSIX ps(1), for systems without ``/proc``."""
    ps = await asyncio.create_subprocess_exec(
        *("ps", "-o", "rss=", "-p", str(pid)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await ps.communicate()
    return int(output) * 1024 if output.strip().isdigit() else None


@contextmanager
def limited(most: int | None) -> Iterator[None]:
    """Limit this process's private memory to ``most`` bytes inside the block, where the system can do that."""
    if most is None or not _LINUX:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
