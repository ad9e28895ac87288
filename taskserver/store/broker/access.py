"""Access control lists: for each role, the rights that it needs on the broker, and no others.

A script runs with the rights of its caller, so a role needs the commands inside its scripts too; and a user who may
write a job's keys through a script may write them without it. Rights separate roles as far as commands can: a dashboard
cannot write messages, and nobody can read other keys or the server's settings, or flush it. Only signatures can prove
that a message comes from a producer (``domain/signing.py``). Only operators and workers can command workers.
"""

from __future__ import annotations

from typing import NamedTuple

PATTERN = "ts:*"
"""All our keys and channels."""
_WITHOUT_COMMANDS = ("ts:*:done*", "ts:*:control*")
"""All channels but those for fleet commands (``store/keys.py``)."""
PASSWORD = "#SHA256_OF_THE_PASSWORD"  # noqa: S105 - a placeholder that the server refuses

# To connect, also to several servers, and to call scripts.
_CONNECTION = "client|setname cluster|slots eval evalsha ping role select"
# For the scripts by which jobs move and end, and for their notifications.
_JOBS = "getrange hdel hmget hset ltrim pexpire publish rpush sadd subscribe time unlink xack xadd xdel"
_STREAMS = "xgroup|create xinfo|groups xpending xrange xtrim"


class Role(NamedTuple):
    """What one kind of program may do.

    Attributes:
        name: Its name; also the default name of its user.
        meaning: What programs with this role do.
        commands: Commands, as ACL names them, in alphabetical order.
        channels: Patterns of the channels on which they publish and listen.
        newer: More commands, of servers newer than Redis 7.0, which rejects them.
    """

    name: str
    meaning: str
    commands: tuple[str, ...]
    channels: tuple[str, ...]
    newer: tuple[str, ...] = ("client|setinfo",)

    def rules(self, user: str, password: str = PASSWORD) -> list[list[str]]:
        """The commands that give a user this role, each as a list of its arguments.

        Args:
            user: Name of the user; its earlier rights are removed.
            password: As ACL takes it: ``#`` and the SHA-256 of the password in hexadecimal.
        """
        rights = [*(f"&{channel}" for channel in self.channels), *(f"+{command}" for command in self.commands)]
        first = ["ACL", "SETUSER", user, "reset", "on", password, f"~{PATTERN}", *rights]
        return [first, ["ACL", "SETUSER", user, *(f"+{command}" for command in self.newer)]]


def _role(name: str, meaning: str, commands: str, *, newer: str = "", commanding: bool = False) -> Role:
    every = sorted({*_CONNECTION.split(), *_JOBS.split(), *_STREAMS.split(), *commands.split()})
    channels = (PATTERN,) if commanding else _WITHOUT_COMMANDS
    return Role(name, meaning, tuple(every), channels, ("client|setinfo", *newer.split()))


_LOOKING = (
    "command|info dbsize exists hexists hget info lrange persist pttl scan smembers type xinfo|consumers xlen "
    "xreadgroup zcard zcount zrange zrem zscan zscore"
)


ROLES = {
    role.name: role
    for role in (
        _role(
            "producer",
            "submits jobs and awaits, cancels and requeues them",
            "exists hexists hincrby lrange persist set setrange wait xlen zadd zrange zrem",
            newer="waitaof",
        ),
        _role(
            "worker",
            "runs jobs, which may submit other jobs",
            "client|id client|unblock command|info del exists get hexists hget hincrby hlen hsetnx info persist pttl "
            "rename scan set smembers srem type wait xautoclaim xclaim xgroup|createconsumer "
            "xgroup|delconsumer xinfo|consumers xinfo|stream xlen xreadgroup zadd zcard zrange zrem zremrangebyscore "
            "zscan zscore",
            newer="waitaof",
            commanding=True,
        ),
        _role(
            "dashboard",
            "shows queues and jobs, pauses queues, and cancels, requeues and deletes jobs; it cannot submit any",
            _LOOKING,
        ),
        _role(
            "operator",
            "does what a dashboard does, and stops, restarts and scales workers",
            _LOOKING,
            commanding=True,
        ),
    )
}
"""All roles, by name."""
