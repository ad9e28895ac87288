"""Guards of the rounds in which doctor and janitor look at everything a queue has."""

from __future__ import annotations

from taskserver.domain.job import State
from tests.faults.guards.guard import Check, by, guards
from tests.store import test_checkup, test_mend, test_rounds
from tests.store.test_checkup import DAMAGE, paused

HEALTHY = by(test_checkup.test_a_healthy_queue_with_jobs_in_every_state_lacks_nothing)
UNREADABLE = by(test_rounds.test_a_record_that_cannot_be_read_is_told_and_nothing_is_told_of_what_is_beside_it)
BY_NAME = {damage.__name__: damage for damage in DAMAGE}


def after(damage: str) -> Check:
    return by(test_checkup.test_damage_is_told_and_repaired_and_the_job_runs, damage=BY_NAME[damage])


def used(use: object) -> Check:
    return by(test_checkup.test_one_that_is_used_in_any_way_is_not, use=use)


# fmt: off
ROUNDS = [
    *guards(
        "asleep",
        ("record", "record", "local sleeps = job and SLEEPS[job.state]", "local sleeps = SLEEPS[job.state]",
         "the doctor stops at a damaged record", UNREADABLE),
        ("that can sleep", "record", "if sleeps and sleeps(key, job) or", "if sleeps(key, job) or",
         "the doctor stops at a job that has ended", HEALTHY),
        ("awake", "owner", "return not is_awake(job) and redis", "return redis",
         "a job is called lost whose lease can be lost",
         by(test_rounds.test_a_running_job_whose_worker_is_gone_is_not_asleep_while_its_lease_can_be_lost)),
        ("alive", "owner", " and redis.call('EXISTS', QUEUE .. 'worker:' .. (job.worker or '')) == 0", "",
         "a job is called lost that its worker will bring back",
         by(test_rounds.test_a_running_job_without_an_entry_is_left_to_its_worker_while_that_lives)),
        ("unlisted record", "record", " or job and is_unlisted(key, job) then", " or is_unlisted(key, job) then",
         "the doctor stops at a damaged record", UNREADABLE),
        ("unlisted", "wake-up", " or job and is_unlisted(key, job) then", " then",
         "nobody is told of a job that nobody starts in time",
         by(test_mend.test_a_job_that_is_missing_among_those_that_expire_is_told_and_listed)),
        ("that may expire", "state", "return may_expire(job) and not redis", "return not redis",
         "every job is called lost", HEALTHY),
        ("listed", "once", "return may_expire(job) and not redis.call('ZSCORE', EXPIRING, key)",
         "return may_expire(job)", "every job that may expire is called lost",
         by(test_mend.test_a_job_that_is_missing_among_those_that_expire_is_told_and_listed)),
        ("dead letter", "wake-up", "return dead_since(key, now) and not redis", "return false and not redis",
         "nobody is told of a dead letter that is not listed",
         by(test_mend.test_a_dead_letter_that_is_missing_is_told_and_listed)),
        ("dead letter listed", "once", " and not redis.call('ZSCORE', DEAD, key) end", " end",
         "every dead letter is called lost", HEALTHY),
        ("dead for long", "once", "return dead_since(key, now) and not redis", "return not redis",
         "a dead letter that is off the list for good is told for ever",
         by(test_mend.test_a_dead_letter_that_is_too_old_for_the_list_is_not_listed_again)),
    ),
    *guards(
        "keep",
        ("set aside", "once", "if repair then\n    local aside", "if true then\n    local aside",
         "looking changes the queue", after("lane_overwritten")),
        ("endless", "once", "if redis.call('PTTL', QUEUE .. name) ~= -1 then return nil end", "",
         "every round finds every key", HEALTHY),
        ("given an end", "once", "if repair then redis.call('PEXPIRE', QUEUE .. name, ttl) end",
         "redis.call('PEXPIRE', QUEUE .. name, ttl)", "looking changes the queue", after("locks_without_end")),
        ("ending", "once", "if redis.call('PTTL', QUEUE .. name) < 0 then return nil end", "",
         "every round finds every job", HEALTHY),
        ("given no end", "once", "if repair then redis.call('PERSIST', QUEUE .. name) end",
         "redis.call('PERSIST', QUEUE .. name)", "looking changes the queue", after("live_record_ends")),
        ("dead letters", "wake-up", "return job.state == 'dead' and math.max(ttl, DEAD_TTL) or ttl", "return ttl",
         "a dead letter is forgotten before anybody has seen it",
         by(test_checkup.test_an_ended_job_whose_time_to_live_was_removed_gets_it_back, state=State.DEAD)),
        ("unreadable record", "record", "if not job then return set_aside(name) end", "",
         "the doctor stops at a damaged record", UNREADABLE),
        ("ended record", "state",
         "set_aside(name) end\n  if ENDED[job.state] then return must_end(name, result_ttl(job)) end",
         "set_aside(name) end", "a record that has an end by right loses it", HEALTHY),
        ("orphan", "record", "if not job then -- or one that cannot be read: that comes first",
         "if false then", "the doctor stops where a record is gone",
         by(test_checkup.test_orphans_get_a_day)),
        ("unreadable record beside", "record", "return redis.call('EXISTS', job_key(key)) == 0 and must_end",
         "return must_end", "what belongs to a damaged record is thrown away", UNREADABLE),
        ("ended beside", "state",
         "  end\n  if ENDED[job.state] then return must_end(name, result_ttl(job)) end", "  end",
         "a message that has an end by right loses it", HEALTHY),
        ("message", "wake-up", "if string.sub(name, 1, 4) == 'msg:' then return must_stay(name) end", "",
         "the message of a job that waits is forgotten", HEALTHY),
        ("set aside before", "record", "if kind == 'broken' then return must_end(name, DEAD_TTL) end", "",
         "what was set aside stays for ever", by(test_rounds.test_what_was_set_aside_has_an_end)),
        ("unknown", "owner", "if not TYPES[kind] or (kind == 'lane' and not IS_LANE[key]) then", "if false then",
         "keys of others are set aside", by(test_checkup.test_keys_that_are_not_ours_are_told_and_left_alone)),
        ("unknown with an end", "owner", "return redis.call('PTTL', QUEUE .. name) == -1 and 'foreign' or nil",
         "return 'foreign'", "keys of others are told that will go",
         by(test_rounds.test_keys_that_are_not_ours_and_have_an_end_are_nobodys_trouble)),
        ("gone", "record", "if type == 'none' then return nil end", "",
         "the round stops at a key that has gone meanwhile",
         by(test_rounds.test_a_key_that_is_gone_meanwhile_is_no_trouble)),
        ("type", "record", "if type ~= TYPES[kind] then return set_aside(name) end", "",
         "a key of another type stays", after("meta_overwritten")),
        ("without a rule", "record", "return RULES[kind] and RULES[kind](name, key)", "return RULES[kind](name, key)",
         "the round stops at a lane", HEALTHY),
        ("found", "once", "if what then found", "if true then found", "every round finds every key", HEALTHY),
    ),
    *guards(
        "prune",
        ("belongs", "state", "if not (job and states[job.state]) and", "if",
         "jobs are taken out of their sets", HEALTHY),
        ("record", "record", "not (job and states[job.state])", "not states[job.state]",
         "the round stops at a place without a job", after("places_without_jobs")),
        ("state", "state", "not (job and states[job.state])", "not job", "a place of a job in another state stays",
         after("places_of_jobs_in_other_states")),
        ("gone", "once", " and redis.call('ZSCORE', set, ARGV[i]) then", " then", "what has gone meanwhile is told",
         by(test_rounds.test_a_member_that_is_gone_meanwhile_is_no_trouble)),
        ("repair", "once", "if ARGV[1] == 'repair' then redis", "if true then redis", "looking changes the queue",
         after("places_without_jobs")),
    ),
    *guards(
        "sift",
        ("record", "record", "if not (job and job.entry", "if not (job.entry", "the round stops at garbage",
         after("strange_entries")),
        ("live entry", "live entry", "job and job.entry == entry and (", "job and (", "a forged entry stays",
         after("strange_entries")),
        ("state", "state", " and (job.state == 'queued' or job.state == 'running')) then", ") then",
         "an entry from a backup stays",
         by(test_rounds.test_an_entry_of_a_job_that_has_ended_stands_for_nothing)),
        ("running", "wake-up", "(job.state == 'queued' or job.state == 'running')", "job.state == 'queued'",
         "the entries of running jobs are thrown away", by(test_rounds.test_a_running_jobs_entry_stands_for_it)),
        ("repair", "once", "if ARGV[1] == 'repair' then drop", "if true then drop", "looking changes the queue",
         after("strange_entries")),
    ),
    *guards(
        "forget",
        ("paused", "owner", "if redis.pcall('HEXISTS', META, 'paused') ~= 0 then return false end", "",
         "a pause is forgotten", used(paused)),
        ("sets", "owner", "if redis.call('EXISTS', set) == 1 then return false end", "", "dead letters are forgotten",
         by(test_rounds.test_a_queue_with_a_place_in_a_set_is_not_forgotten)),
        ("lanes", "owner", "if redis.pcall('XLEN', lane_key(lane)) ~= 0 then return false end", "",
         "what was overwritten is forgotten", by(test_rounds.test_a_queue_with_damage_is_not_forgotten)),
        ("served", "owner", "if redis.call('EXISTS', QUEUE .. 'worker:' .. info[2]) == 1 then return true end", "",
         "the lanes go under a live worker", by(test_rounds.test_a_queue_with_a_live_consumer_is_not_forgotten)),
        ("used", "owner", "if last > 0 then return last end", "", "a queue is forgotten that was used of late",
         by(test_rounds.test_a_queue_that_was_used_of_late_is_not_forgotten)),
        ("mark", "once", "if ARGV[1] == 'mark' then redis", "if true then redis", "looking changes the queue",
         by(test_rounds.test_a_queue_is_marked_only_when_asked_to)),
        ("empty", "owner", "if not is_empty() or is_served()", "if is_served()", "a pause is forgotten", used(paused)),
        ("not served", "owner", " or is_served() or now", " or now", "the lanes go under a live worker",
         by(test_rounds.test_a_queue_with_a_live_consumer_is_not_forgotten)),
        ("long", "owner", " or now - last_used() < tonumber(ARGV[2]) then", " then", "a new queue is forgotten",
         by(test_checkup.test_one_that_never_had_a_job_is_given_as_long)),
        ("forget", "once", "if ARGV[1] == 'forget' then", "if true then", "looking forgets the queue",
         by(test_rounds.test_looking_whether_a_queue_is_unused_forgets_nothing)),
    ),
]
