"""A tool that needs nothing, for replicas of a supervisor."""

from __future__ import annotations

import asyncio

from taskserver import tool


@tool
async def doze(seconds: float) -> None:
    """Take a while."""
    await asyncio.sleep(seconds)
