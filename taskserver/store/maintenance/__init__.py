"""Keeping queues sound: ``audit`` checks every key and repairs ``damage``, for the janitor and the ``doctor``.

``registry`` keeps the list of queues, and ``partitioning`` the number of partitions of each.
"""
