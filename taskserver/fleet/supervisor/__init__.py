"""The supervisor: keeps N replicas of one assignment alive, restarts them one by one, scales and stops them.

In reading order: ``supervisor.py`` (the replica slots, and what people can do to them), ``replica_slot.py`` (how a
replica is replaced), ``child.py`` (one process, and the link to it), ``exits.py`` (what an exit code means),
``process.py`` (signals and side tasks of a process with supervisors), ``reload.py`` (restarts when source files
change), ``targets.py`` (tells Prometheus where the replicas are), ``reaper.py`` (waits for orphans).
"""

from taskserver.fleet.supervisor.supervisor import Supervisor

__all__ = ["Supervisor"]
