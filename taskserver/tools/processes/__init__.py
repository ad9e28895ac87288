"""CPU-bound tools in processes of their own, which can be killed.

Start at ``pool.py``: what a worker owns. Each of its processes is seen from the worker in ``process.py``, and runs
``child.py`` itself; between them goes what ``wire.py`` lists. Nothing is pickled: a process is told where its tools are
defined, and what it answers is data.
"""

from taskserver.tools.processes.memory import resident_bytes
from taskserver.tools.processes.pool import ProcessPool, processes
from taskserver.tools.processes.reference import reference_of

__all__ = ["ProcessPool", "processes", "reference_of", "resident_bytes"]
