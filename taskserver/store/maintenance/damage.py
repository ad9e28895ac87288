"""What can be wrong with a queue's keys, and what a repair does: one list for the janitor and the doctor."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Damage(StrEnum):
    """A kind of damage. ``check_keys.lua`` answers with some of these values."""

    TYPE = "type"
    """A key of another type than it should have; no script can use it."""
    GROUP = "group"
    """A lane's stream or consumer group is missing."""
    STRANDED = "stranded"
    """A job whose stream entry, or member in the set of delayed, expiring or dead jobs, is missing: nothing would wake,
    end or list it."""
    ENDING = "ending"
    """A live job's record has a time to live, and would expire."""
    ENDLESS = "endless"
    """A key has no time to live and should have one."""
    ORPHAN = "orphan"
    """A message, outcome or history whose job has no record; it has no time to live."""
    MEMBER = "member"
    """A member of the set of delayed, expiring or dead jobs whose job is gone or in another state."""
    ENTRY = "entry"
    """A stream entry that is no job's live entry."""
    CONSUMER = "consumer"
    """A consumer of a worker that is gone, with nothing pending."""
    HELD = "held"
    """A consumer of a worker that is gone, with jobs pending."""
    FOREIGN = "foreign"
    """A key under the queue's prefix that taskserver does not know, without a time to live."""


class DamageFinding(NamedTuple):
    """Damage that was found.

    Attributes:
        damage: Its kind.
        name: Of the key, job, entry or worker.
        affected: How many jobs are affected.
    """

    damage: Damage
    name: str
    affected: int = 1


class Description(NamedTuple):
    """A kind of damage in words: ``2 lanes without a stream or consumer group: recreated``.

    Attributes:
        level: As of ``health.Finding``.
        noun: What is counted, in the singular.
        nouns: The same in the plural.
        problem: What is wrong with it.
        repair: What a repair has done to it; empty if there is no repair.
    """

    level: str
    noun: str
    nouns: str
    problem: str
    repair: str


DESCRIPTIONS = {
    Damage.TYPE: Description(
        "error", "key", "keys", "of the wrong type or unreadable", "set aside for 30 days, and recreated"
    ),
    Damage.GROUP: Description("error", "lane", "lanes", "without a stream or consumer group", "recreated"),
    Damage.STRANDED: Description(
        "error", "job", "jobs", "that nothing would wake, end or list", "queued or listed again"
    ),
    Damage.ENDING: Description(
        "error", "key", "keys", "of live jobs that would expire", "kept as long as the job lives"
    ),
    Damage.ENDLESS: Description("warning", "key", "keys", "without a time to live", "given one"),
    Damage.ORPHAN: Description("warning", "key", "keys", "left of jobs whose record is gone", "given a day to live"),
    Damage.MEMBER: Description("warning", "member", "members", "of a set of jobs without such a job", "removed"),
    Damage.ENTRY: Description("warning", "stream entry", "stream entries", "without a job", "discarded"),
    Damage.CONSUMER: Description(
        "warning", "consumer", "consumers", "of workers that are gone", "removed from the groups"
    ),
    Damage.HELD: Description("warning", "job", "jobs", "held by workers that are gone", "queued again"),
    Damage.FOREIGN: Description("warning", "key", "keys", "that taskserver does not know", ""),
}
