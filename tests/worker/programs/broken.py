"""A module that can be imported once: in its worker, but not in the processes of its tools."""

import os

from taskserver import tool

if "IMPORTED" in os.environ:
    raise OSError("the weights are not there")
os.environ["IMPORTED"] = "yes"


@tool(runs_in="process", max_retries=0)
def weigh() -> None:
    """Never run."""
