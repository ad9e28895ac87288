"""Services that keep queues and their worker healthy: each is one loop, in one file.

For every partition: ``scheduler.py``, ``reclaimer.py``, ``janitor.py``. For the whole worker: ``recycler.py``,
``partition_watcher.py``, ``schema_watcher.py``.
"""
