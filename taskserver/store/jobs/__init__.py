"""Moving jobs: one function per transition of ``domain/job.py``, each of which calls its script.

Clients ``submit``; workers ``claim``, keep the ``lease``, ``settle`` and ``recover``; people use ``admin``.
"""
