"""What may be wrong with a queue's keys, and what is done about it: one list for the janitor and the doctor."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Damage(StrEnum):
    """One kind of damage. The value is the word that scripts answer."""

    TYPE = "type"
    """A key holds something else than it should, and no script can use it."""
    GROUP = "group"
    """A lane's stream or consumer group is missing."""
    STRANDED = "stranded"
    """A job whose stream entry, or place in the set of delayed, expiring or dead jobs, is gone: nothing would wake,
    end or list it."""
    ENDING = "ending"
    """A live job's record has a time to live, and would vanish."""
    ENDLESS = "endless"
    """A key that should have a time to live has none."""
    ORPHAN = "orphan"
    """A message, output or history without a record of its job, and without a time to live."""
    MEMBER = "member"
    """A place in the set of delayed, expiring or dead jobs whose job is gone or not in that state."""
    ENTRY = "entry"
    """A stream entry that stands for no job."""
    CONSUMER = "consumer"
    """A consumer of a worker that is gone, with nothing pending."""
    HELD = "held"
    """A consumer of a worker that is gone, with jobs pending."""
    FOREIGN = "foreign"
    """A key under the queue's prefix that is none of ours, without a time to live."""


class DamageFinding(NamedTuple):
    """One trouble: its name (of a key, job, entry or worker), and how many jobs it is about."""

    damage: Damage
    name: str
    times: int = 1


class Description(NamedTuple):
    """How a trouble is told: ``2 lanes without a stream or consumer group: made anew``.

    Attributes:
        level: As of ``health.Finding``.
        noun, nouns: What is counted, one and several.
        about: What is the matter with it.
        done: What a repair does; empty if there is none.
    """

    level: str
    noun: str
    nouns: str
    about: str
    done: str


DESCRIPTIONS = {
    Damage.TYPE: Description(
        "error", "key", "keys", "of the wrong type or unreadable", "set aside for 30 days, and made anew"
    ),
    Damage.GROUP: Description("error", "lane", "lanes", "without a stream or consumer group", "made anew"),
    Damage.STRANDED: Description(
        "error", "job", "jobs", "that nothing would wake, end or list", "queued or listed again"
    ),
    Damage.ENDING: Description(
        "error", "key", "keys", "of live jobs that would expire", "kept as long as the job lives"
    ),
    Damage.ENDLESS: Description("warning", "key", "keys", "without a time to live", "given one"),
    Damage.ORPHAN: Description("warning", "key", "keys", "left of jobs whose record is gone", "given a day to live"),
    Damage.MEMBER: Description("warning", "place", "places", "in a set of jobs, without such a job", "taken out"),
    Damage.ENTRY: Description("warning", "stream entry", "stream entries", "without a job", "thrown away"),
    Damage.CONSUMER: Description(
        "warning", "consumer", "consumers", "of workers that are gone", "taken out of the groups"
    ),
    Damage.HELD: Description("warning", "job", "jobs", "held by workers that are gone", "queued again"),
    Damage.FOREIGN: Description("warning", "key", "keys", "that taskserver does not know", ""),
}
