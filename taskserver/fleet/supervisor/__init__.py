"""The supervisor: a process that keeps replicas of one assignment alive.

A newcomer starts at ``supervisor.py`` (what it can be told), goes on to ``replica_slot.py`` (how one
replica is replaced) and ``child.py`` (one process, and the link to it).
"""

from taskserver.fleet.supervisor.supervisor import Supervisor

__all__ = ["Supervisor"]
