"""Who may do what at the broker: for each role the rights that it needs, and no others (its access control lists).

A script runs with the rights of whoever calls it, so a role needs the commands inside its scripts too; and whoever may
write a job's keys through a script may write them without it. So rights keep roles apart as far as commands can:
a dashboard cannot write messages, nobody can look at other keys, at the server's settings, or empty it. That what is
in a message comes from a producer, only signatures can tell (``domain/signing.py``).
"""

from __future__ import annotations

from typing import NamedTuple

PATTERN = "ts:*"
"""Every key and channel of ours."""
PASSWORD = "#SHA256_OF_THE_PASSWORD"  # noqa: S105 - not one: the server refuses it until it is replaced

# To connect, also to several servers, and to call scripts.
_CONNECTION = "client|setname cluster|slots eval evalsha ping role select"
# What the scripts do by which jobs move and end, and what hears of it.
_JOBS = "getrange hdel hmget hset ltrim pexpire publish rpush sadd subscribe time unlink xack xadd xdel"
_STREAMS = "xgroup|create xinfo|groups xpending xrange xtrim"


class Role(NamedTuple):
    """What one kind of program may do.

    Attributes:
        name: What it is called; also the user, unless another name is given.
        meaning: What it does.
        commands: As ACL names them, in the order of the alphabet.
        newer: The same of servers newer than Redis 7.0, which refuses to hear of them.
    """

    name: str
    meaning: str
    commands: tuple[str, ...]
    newer: tuple[str, ...] = ("client|setinfo",)

    def rules(self, user: str, password: str = PASSWORD) -> list[list[str]]:
        """The commands that give a user this role, each as its words.

        Args:
            user: Name of the user; what it could do before is taken away.
            password: As ACL takes it: ``#`` and the SHA-256 of the password in hexadecimal.
        """
        rights = [f"+{command}" for command in self.commands]
        first = ["ACL", "SETUSER", user, "reset", "on", password, f"~{PATTERN}", f"&{PATTERN}", *rights]
        return [first, ["ACL", "SETUSER", user, *(f"+{command}" for command in self.newer)]]


def _role(name: str, meaning: str, commands: str, newer: str = "") -> Role:
    every = sorted({*_CONNECTION.split(), *_JOBS.split(), *_STREAMS.split(), *commands.split()})
    return Role(name, meaning, tuple(every), ("client|setinfo", *newer.split()))


ROLES = {
    role.name: role
    for role in (
        _role(
            "producer",
            "submits jobs, awaits them, cancels them and runs them again",
            "exists hexists hincrby lrange persist set setrange wait xlen zadd zrange zrem",
            newer="waitaof",
        ),
        _role(
            "worker",
            "runs jobs, which may submit others",
            "client|id client|unblock command|info del exists get hexists hget hincrby hlen hsetnx info persist pttl "
            "rename scan set smembers srem type wait xautoclaim xclaim xgroup|createconsumer "
            "xgroup|delconsumer xinfo|consumers xinfo|stream xlen xreadgroup zadd zcard zrange zrem zremrangebyscore "
            "zscan zscore",
            newer="waitaof",
        ),
        _role(
            "dashboard",
            "looks at queues and jobs, pauses, cancels, runs again and deletes; it cannot submit",
            "command|info dbsize exists hexists hget info lrange persist pttl scan smembers type xinfo|consumers "
            "xlen xreadgroup zcard zcount zrange zrem zscan zscore",
        ),
    )
}
"""By name."""
