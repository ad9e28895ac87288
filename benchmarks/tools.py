"""What the benchmark's workers run."""

from taskserver import tool


@tool
async def noop(number: int) -> int:
    """Give the number back."""
    return number
