"""What the benchmark's workers run."""

import asyncio

from taskserver import tool


@tool
async def noop(number: int) -> int:
    """Give the number back."""
    return number


@tool
async def pause(number: int) -> int:
    """Wait for 10 ms, as for something elsewhere, and give the number back."""
    await asyncio.sleep(0.01)
    return number
