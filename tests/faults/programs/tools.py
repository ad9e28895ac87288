"""What the workers of the steady tests run."""

from taskserver import tool


@tool
async def noop(number: int) -> int:
    """Give the number back."""
    return number
