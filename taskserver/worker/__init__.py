"""The worker: claims jobs for free slots, runs them, settles them, and keeps its queues healthy meanwhile.

Begin with ``worker.py``, which lists all services with their files. The way of one job goes through these:

    ``fetcher.py``   claims it for a free slot (``slots.py`` says whose turn it is)
    ``executor.py``  opens its message and runs it: an ``attempt.py``, with a time limit
    ``outcome.py``   decides how the attempt ends
    ``settler.py``   brings that to the broker

Meanwhile ``heartbeat.py`` renews its lease. ``partition.py`` has the services of one partition, and ``partitions.py``
the list of them; ``maintenance/`` holds the services that repair and watch.
"""
