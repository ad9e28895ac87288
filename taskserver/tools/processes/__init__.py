"""Runs CPU-bound tools in processes, which can be killed.

Start with ``pool.py``, the pool that a worker owns. ``process.py`` is one process as its worker sees it, ``child.py``
is what runs inside the process, and ``wire.py`` lists the messages between them. Nothing is pickled: a process learns
where its tools are defined, and answers with data.
"""

from taskserver.tools.processes.memory import resident_bytes
from taskserver.tools.processes.pool import ProcessPool, processes
from taskserver.tools.processes.reference import reference_of

__all__ = ["ProcessPool", "processes", "reference_of", "resident_bytes"]
