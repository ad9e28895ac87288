"""What an acknowledged submit has survived before its submitter hears of it."""

from __future__ import annotations

from difflib import get_close_matches
from typing import NamedTuple, Self

from taskserver.errors import ConfigError

WORDS = ("memory", "fsync", "replicas")


class Durability(NamedTuple):
    """How far a submitted job must have come. Read from text such as ``fsync,replicas=1``.

    Attributes:
        fsync: It stands in the append-only file on the server's disk (WAITAOF), and on those of the replicas.
        replicas: So many replicas have it (WAIT).
    """

    fsync: bool = False
    replicas: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``memory``, or ``fsync`` and ``replicas=N``, joined by commas.

        Raises:
            ConfigError: naming the word that is none of these.
        """
        fsync, replicas = False, 0
        for word in text.replace(" ", "").split(","):
            name, _, number = word.partition("=")
            if name == "fsync" and not number:
                fsync = True
            elif name == "replicas" and number.isdecimal() and 1 <= int(number) <= 100:
                replicas = int(number)
            elif word != "memory":
                near = get_close_matches(name, WORDS, 1)
                hint = f"; did you mean {near[0]!r}?" if near and near[0] != name else ""
                raise ConfigError(
                    f"durability cannot be {word!r}: write memory, fsync, replicas=1 or fsync,replicas=1{hint}"
                )
        return cls(fsync, replicas)

    def __str__(self) -> str:
        words = (["fsync"] if self.fsync else []) + ([f"replicas={self.replicas}"] if self.replicas else [])
        return ",".join(words) or "memory"


IN_MEMORY = Durability()
"""The server has it in memory; what that survives is the server's configuration."""
