"""Guards of the prelude that every script has: records, keys and entries that are not as they should be."""

from __future__ import annotations

from tests.faults import test_damaged_records, test_entries, test_wrong_types
from tests.faults.guards.guard import Check, by, of_prelude
from tests.store import test_cancel, test_claim, test_mend, test_promote_expire, test_renew


def number(garbage: bytes, field: str = "ttl") -> Check:
    return by(test_damaged_records.test_a_number_that_is_none_stops_nothing, field=field, garbage=garbage)


def entry(garbage: bytes) -> Check:
    return by(test_damaged_records.test_an_entry_that_is_none_is_replaced, garbage=garbage)


# fmt: off
READING = [
    *of_prelude(
        "records",
        "claim",
        ("key of another type", "record", "if not (string.find(reply.err, '^WRONGTYPE') or", "if not (false or",
         "nothing is claimed where a lane was overwritten",
         by(test_wrong_types.test_a_claim_finds_a_lane_of_the_wrong_type)),
        ("other errors of a key", "wake-up", "'exhausted', 1, true)) then error(reply) end",
         "'exhausted', 1, true)) then end", "a stream is deleted because it could not be read",
         by(test_wrong_types.test_a_stream_that_may_not_be_read_is_not_deleted)),
        ("errors alone", "record", "if type(reply) ~= 'table' or not reply.err then return reply end",
         "if not reply.err then return reply end", "a queue that is not paused stops the claim",
         by(test_claim.test_a_claim_begins_the_first_attempt)),
        ("answers", "wake-up", "if type(reply) ~= 'table' or not reply.err then return reply end",
         "if type(reply) ~= 'table' then return reply end", "every answer is taken for an error",
         by(test_claim.test_a_claim_begins_the_first_attempt)),
        ("record of another type", "record", "if values.err and not string.find(values.err, '^WRONGTYPE') then error",
         "if values.err then error", "one key of the wrong type stops the claim",
         by(test_claim.test_a_job_key_of_the_wrong_type_is_an_unknown_job)),
        ("other errors of a record", "wake-up",
         "if values.err and not string.find(values.err, '^WRONGTYPE') then error(values) end", "",
         "a live entry is dropped because a record could not be read",
         by(test_wrong_types.test_a_record_that_may_not_be_read_loses_no_job)),
        ("fence of the record", "fence", "math.max(number(job.fence) or 0, now) + 1", "now + 1",
         "a clock that is set back gives a fence that was used",
         by(test_claim.test_a_fence_rises_although_the_clock_was_set_back)),
        ("message of another type", "record", "return is_foreign(value) and '' or value", "return value",
         "an error takes the place of a message",
         by(test_claim.test_a_message_of_the_wrong_type_takes_no_other_job_down)),
        ("answer that is no error", "record", "if type(reply) ~= 'table' or not reply.err then return false end",
         "if type(reply) ~= 'table' then return true end", "every message is taken for lost",
         by(test_claim.test_a_claim_begins_the_first_attempt)),
        ("other errors of a message", "wake-up", "if not string.find(reply.err, '^WRONGTYPE') then error(reply) end",
         "", "a job is dead because its message could not be read",
         by(test_wrong_types.test_a_message_that_may_not_be_read_loses_no_job)),
        ("fence by the clock", "fence", "return math.max(number(job.fence) or 0, now) + 1 end",
         "return (number(job.fence) or 0) + 1 end", "a key that comes again gives a fence that was used",
         by(test_claim.test_a_key_that_comes_again_after_its_record_expired_gets_no_fence_that_was_used)),
    ),
    *of_prelude(
        "records",
        "submit",
        ("last id", "record", " or string.find(reply.err, 'exhausted', 1, true)) then", ") then",
         "nothing is submitted to a lane any more",
         by(test_wrong_types.test_a_stream_that_takes_no_more_entries_is_made_anew)),
    ),
    *of_prelude(
        "records",
        "mend",
        ("state", "record", "ENDED[values[1]] == nil then", "not values[1] then", "a job whose state is none is lost",
         by(test_damaged_records.test_a_record_that_cannot_be_read_becomes_a_dead_letter, state=b"banana")),
    ),
    *of_prelude(
        "records",
        "finish",
        ("no number", "record", "return n and n >= 0", "return n >= 0", "a damaged record stops a batch", number(b"x")),
        ("negative number", "record", "n >= 0 and", "", "a job is forgotten as it ends", number(b"-1")),
        ("large number", "record", " and n < 1e15 and", " and", "a job can never end", number(b"1e300")),
        ("whole number", "record", "math.floor(n) or nil", "n or nil", "a job can never end",
         by(test_damaged_records.test_a_number_that_is_not_whole_is_cut_off)),
    ),
    *of_prelude(
        "records",
        "promote",
        ("fields", "record", "if not values then return nil end", "",
         "a time that belongs to no job stops the scheduler",
         by(test_promote_expire.test_a_forged_time_of_no_job_is_forgotten, key="unknown")),
    ),
    *of_prelude(
        "records",
        "cancel",
        ("no record", "record", "if ENDED[values[1]] == nil then", "if false then",
         "a cancel makes a record of an unknown job", by(test_cancel.test_each_job_is_answered_for_in_order)),
        ("job", "record", "return v and {", "return {", "an unknown job stops the call",
         by(test_damaged_records.test_a_record_that_cannot_be_read_becomes_a_dead_letter, state=b"")),
    ),
    *of_prelude(
        "ends",
        "cancel",
        ("no outcome", "once", "if data ~= '' then", "if true then", "the last error is lost with a cancel",
         by(test_cancel.test_the_last_error_stays_as_long_as_the_record)),
    ),
    *of_prelude(
        "entries",
        "promote",
        ("lane", "wake-up", "if not IS_LANE[lane] then lane = 'normal' end", "lane = lane or 'normal'",
         "a job waits in a lane that nobody reads",
         by(test_damaged_records.test_a_lane_that_is_none_is_the_normal_one)),
    ),
    *of_prelude(
        "entries",
        "renew",
        ("place in a lane", "record", "if IS_LANE[lane] and (#id", "if lane and (#id",
         "all leases of a worker are lost by one damaged record", entry(b"elsewhere/1-1")),
        ("time of an id", "record", "return fits(time) and fits(sequence)", "return fits(sequence)",
         "all leases of a worker are lost by one damaged record", entry(b"normal/18446744073709551616-1")),
        ("number of an id", "record", "return fits(time) and fits(sequence)", "return fits(time)",
         "all leases of a worker are lost by one damaged record", entry(b"normal/1-18446744073709551616")),
        ("no id", "record", "(#id < 20 or is_id(id))", "true", "all leases of a worker are lost by one damaged record",
         entry(b"normal/1-18446744073709551616")),
        ("length of an id", "record", "(#digits == 20 and digits <=", "(digits <=",
         "all leases of a worker are lost by one damaged record", entry(b"normal/100000000000000000000-1")),
        ("largest id", "wake-up", "return #digits < 20 or (#digits == 20 and digits <= '18446744073709551615') end",
         "return #digits < 20 end", "a job loses its entry behind a forged one",
         by(test_entries.test_a_job_behind_a_forged_id_keeps_its_entry)),
        ("lease of no entry", "record", "return lane and #own", "return #own", "a heartbeat stops at a damaged record",
         entry(b"x")),
        ("lease", "wake-up", "if lease(job.entry, worker) then return end", "lease(job.entry, worker)",
         "each heartbeat writes another entry", by(test_renew.test_a_heartbeat_writes_no_entry_that_is_not_needed)),
    ),
    *of_prelude(
        "entries",
        "finish",
        ("dropped entry", "record", "local lane, id = place(entry)\n  if not lane then return end",
         "local lane, id = place(entry)", "a job whose entry is damaged stops a batch", entry(b"x")),
        ("lane of another type", "record", "own(lane_key(lane), 'XACK', lane_key(lane), GROUP, unpack(ids))",
         "redis.call('XACK', lane_key(lane), GROUP, unpack(ids))", "no job of the lane can end",
         by(test_wrong_types.test_a_lane_of_the_wrong_type_is_made_anew_and_its_jobs_are_found, lane="normal")),
    ),
    *of_prelude(
        "entries",
        "mend",
        ("another group", "wake-up", "if group[2] == GROUP then return", "if true then return",
         "somebody else's group decides which jobs are stranded",
         by(test_mend.test_a_group_of_somebody_else_misleads_nobody)),
        ("same time", "live entry", "if a == c then a, c = b, d end", "",
         "each walk writes another entry for every job that waits",
         by(test_mend.test_entries_of_one_millisecond_are_told_apart)),
        ("longer id", "wake-up", "return #a < #c or (#a == #c and a < c)", "return a < c",
         "a job is stranded behind a longer id", by(test_mend.test_entries_of_one_millisecond_are_told_apart)),
    ),
]
