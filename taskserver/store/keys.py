"""Every key and channel that taskserver uses, each with its type and its time to live.

All keys of a queue share the hash tag ``{queue}``, so they are in one slot of a cluster. A queue that needs several
slots has partitions, each of which is a queue here (``domain/partitions.py``).
"""

from __future__ import annotations

QUEUES = "ts:queues"
"""Set: the names of all queues. No time to live; unused queues are forgotten."""

PARTITIONS = "ts:partitions"
"""Sorted set: the queues with several partitions, scored by how many. No time to live; a member per such queue."""

FORGETTER = "ts:forgetter"
"""String: the worker that last looked for unused queues. Lives for an hour; then another worker may."""

SCHEMA = "ts:schema"
"""String: the number of the schema described here, and the first version that knows it (``store/broker/schema.py``).
No time to live."""

GROUP = "workers"
"""The consumer group on every lane."""

RECLAIMER = "sweeper"
"""The consumer that takes over the entries of lost workers. On the broker it keeps its old name."""


class Keys:
    """The keys of one queue, as the scripts in ``lua/`` build them too.

    ===================  ========  ================================  ===========================================
    key                  type      time to live                      what bounds it
    ===================  ========  ================================  ===========================================
    ``lane:<lane>``      stream    none                              an entry per waiting or running job
    ``delayed``          zset      none; score: due, ms              a member per delayed job
    ``expiring``         zset      none; score: start until, ms      a member per job that has not begun
    ``dead``             zset      none; score: died, ms             a member per dead letter of 30 days
    ``meta``             hash      none                              8 fields: ``paused``, ``idle``, leases
    ``job:<key>``        hash      none while the job lives, then    27 fields, the largest of them as a message
                                   its result's
    ``msg:<key>``        string    the same                          the largest message
    ``out:<key>``        string    30 days while the job lives,      the largest result
                                   then the same
    ``events:<key>``     stream    30 days since the last event,     2,000 events, about
                                   then the same
    ``history:<key>``    list      30 days since the last record,    50 records
                                   then the same
    ``worker:<worker>``  string    three heartbeats                  one per worker
    ``answer:<call>``    hash      two hours                         one per call of a person
    ``sweeper``          string    one turn of the reclaimer         one
    ``janitor``          string    one pause between audits          one
    ``broken:<name>:…``  any       30 days                           what was set aside
    ===================  ========  ================================  ===========================================

    The janitor (``store/maintenance/audit.py``) checks every key against this table, and repairs those that differ.

    The databases of a server share its channels. So the names of channels contain the database's number, except in
    database 0, where they are as they always were.

    Args:
        queue: Its name.
        database: The number of the broker's database.

    Attributes:
        prefix: What all keys of the queue begin with.
        of_scripts: The keys that a script is called with: the prefix, and where there is one, the same with the mark of
            the database, from which the script takes the mark.
    """

    __slots__ = (
        "_mark", "dead", "delayed", "expiring", "janitor", "meta", "of_scripts", "prefix", "queue", "reclaimer",
    )  # fmt: skip

    def __init__(self, queue: str, database: int = 0) -> None:
        self.queue = queue
        self.prefix = f"ts:{{{queue}}}:"
        self._mark = f"@{database}" if database else ""
        self.of_scripts = (self.prefix, self.prefix + self._mark) if database else (self.prefix,)
        self.delayed = f"{self.prefix}delayed"
        self.expiring = f"{self.prefix}expiring"
        self.dead = f"{self.prefix}dead"
        self.meta = f"{self.prefix}meta"
        self.janitor = f"{self.prefix}janitor"
        self.reclaimer = f"{self.prefix}sweeper"

    def lane(self, lane: str) -> str:
        """Stream of the jobs that wait in one lane; an entry is ``job`` → key."""
        return f"{self.prefix}lane:{lane}"

    def job(self, key: str) -> str:
        """Hash with the truth about one job (``store/queries/jobs.py`` lists its fields)."""
        return f"{self.prefix}job:{key}"

    def message(self, key: str) -> str:
        """The job's packed envelope."""
        return f"{self.prefix}msg:{key}"

    def outcome(self, key: str) -> str:
        """The job's packed result or last error, when too long for the hash."""
        return f"{self.prefix}out:{key}"

    def events(self, key: str) -> str:
        """Stream of the job's progress and output; an entry is ``attempt``, ``report``."""
        return f"{self.prefix}events:{key}"

    def history(self, key: str) -> str:
        """List of the job's packed ``AttemptRecord``."""
        return f"{self.prefix}history:{key}"

    def worker(self, worker: str) -> str:
        """A live worker's packed ``WorkerSnapshot``."""
        return f"{self.prefix}worker:{worker}"

    def answer(self, call: str) -> str:
        """Hash with the packed answer to a call that must not run twice, in case it is repeated."""
        return f"{self.prefix}answer:{call}"

    def done(self, route: str) -> str:
        """Channel on which a submitter is notified of its jobs."""
        return f"{self.prefix}done{self._mark}:{route}"

    @property
    def control(self) -> str:
        """Channel for what workers should know before their next heartbeat. Producers publish on it too."""
        return f"{self.prefix}control{self._mark}"

    @property
    def commands(self) -> str:
        """Channel for fleet commands, on which only operators and workers may publish (``store/broker/access.py``)."""
        return f"{self.prefix}commands{self._mark}"
