"""How durable a job must be before its submit is acknowledged."""

from __future__ import annotations

from difflib import get_close_matches
from typing import NamedTuple, Self

from taskserver.errors import ConfigError

LEVELS = ("memory", "fsync", "replicas")


class Durability(NamedTuple):
    """What must have happened before a submit is acknowledged. Read from text such as ``fsync,replicas=1``.

    Attributes:
        fsync: The job is in the append-only file on the server's disk, and on those of the replicas (WAITAOF).
        replicas: Number of replicas that have the job (WAIT).
    """

    fsync: bool = False
    replicas: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``memory``, or ``fsync`` and ``replicas=N``, joined by commas.

        Raises:
            ConfigError: naming the part that is none of these.
        """
        fsync, replicas = False, 0
        for part in text.replace(" ", "").split(","):
            name, _, number = part.partition("=")
            if name == "fsync" and not number:
                fsync = True
            elif name == "replicas" and number.isdecimal() and 1 <= int(number) <= 100:
                replicas = int(number)
            elif part != "memory":
                near = get_close_matches(name, LEVELS, 1)
                hint = f"; did you mean {near[0]!r}?" if near and near[0] != name else ""
                raise ConfigError(
                    f"{part!r} is not a durability: use memory, fsync, replicas=1 or fsync,replicas=1{hint}"
                )
        return cls(fsync, replicas)

    def __str__(self) -> str:
        parts = (["fsync"] if self.fsync else []) + ([f"replicas={self.replicas}"] if self.replicas else [])
        return ",".join(parts) or "memory"


IN_MEMORY = Durability()
"""The server has it in memory; how durable that is depends on the server's configuration."""
