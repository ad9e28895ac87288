"""Guards of what clients and people do: submit, cancel, requeue, answer, purge, bury."""

from __future__ import annotations

from taskserver.domain.job import State
from tests.faults import test_damaged_records, test_entries
from tests.faults.guards.guard import by, guards, of_prelude, outside
from tests.store import (
    test_cancel,
    test_outcomes_status_events,
    test_promote_expire,
    test_purge_leave,
    test_requeue,
    test_submit,
    test_wait_answer,
)

# fmt: off
PEOPLE = [
    *guards(
        "submit",
        ("known", "once", "if own(record, 'HEXISTS', record, 'state') == 1 then", "if false then",
         "a submit that is repeated begins its job anew", by(test_submit.test_the_same_key_again_is_one_job)),
        ("record of another type", "record", "own(record, 'HEXISTS', record, 'state')",
         "redis.call('HEXISTS', record, 'state')", "the key can never be submitted again",
         by(test_damaged_records.test_a_submit_replaces_a_record_of_the_wrong_type)),
        ("due", "state", "if due and due > now then", "if due then", "a job that is due waits in the delay set",
         by(test_submit.test_an_instant_in_the_past_means_now)),
        ("delayed", "state", "if due and due > now then", "if false then", "a job for later runs now",
         by(test_submit.test_a_job_for_later_is_in_no_lane)),
        ("expires", "wake-up", "if options.expires then", "if false then",
         "a job that nobody started in time waits for ever",
         by(test_promote_expire.test_a_job_ends_when_its_time_to_start_is_over, state="queued")),
    ),
    *guards(
        "cancel",
        ("record", "record", "if not job then\n    states[i] = ''\n  elseif job.state", "if job.state",
         "an unknown job stops the call", by(test_cancel.test_each_job_is_answered_for_in_order)),
        ("running", "state", "elseif job.state == 'running' then", "elseif false then",
         "a job ends while it is running", by(test_cancel.test_a_running_job_is_asked_and_its_worker_told)),
        ("ended", "state", "elseif ENDED[job.state] then", "elseif false then", "a job ends twice",
         outside("cancel", "succeeded")),
    ),
    *guards(
        "requeue",
        ("record", "record", "if not job or redis", "if redis", "an unknown job stops the call",
         by(test_requeue.test_a_message_without_a_record_cannot_run_again)),
        ("message", "record", "if not job or redis.call('EXISTS', message_key(key)) == 0 then", "if not job then",
         "a job is queued that has nothing to run",
         by(test_requeue.test_a_job_whose_record_or_message_is_gone_cannot_run_again)),
        ("ended", "state", "if not ENDED[job.state] then return job.state end", "",
         "a running job is begun a second time", by(test_requeue.test_a_live_job_is_left_alone, state=State.RUNNING)),
    ),
    *guards(
        "answer",
        ("record", "record", "if job and job.state == 'waiting' then", "if job.state == 'waiting' then",
         "an unknown job stops the call", by(test_wait_answer.test_nobody_answers_a_job_that_does_not_ask)),
        ("waiting", "state", "if job and job.state == 'waiting' then", "if job then",
         "a second answer runs the job twice", by(test_wait_answer.test_the_first_answer_counts)),
        ("record of the answer", "record", "job and job.state or ''", "job.state or ''",
         "an unknown job stops the call", by(test_wait_answer.test_nobody_answers_a_job_that_does_not_ask)),
    ),
    *guards(
        "purge",
        ("record", "record", "if not job or job.entry", "if job.entry", "garbage stops the purge",
         by(test_purge_leave.test_garbage_is_purged_but_does_not_count)),
        ("live entry", "live entry", "or job.entry ~= entry then", "then",
         "a forged entry ends a job that a worker is about to begin",
         by(test_entries.test_a_purge_leaves_a_job_to_the_worker_that_has_read_its_entry)),
        ("state", "state", "if job.state == 'queued' or job.state == 'delayed' then", "if true then",
         "a purge ends jobs that run",
         by(test_purge_leave.test_a_purge_after_the_groups_were_destroyed_ends_no_running_job)),
        ("nothing to read", "record", "ipairs(reply and reply[1][2] or {})", "ipairs(reply[1][2] or {})",
         "an empty lane stops the purge", by(test_purge_leave.test_an_empty_queue_is_purged)),
        ("nothing delayed", "record", "if #keys > 0 then", "if true then", "an empty delay set stops the purge",
         by(test_purge_leave.test_an_empty_queue_is_purged)),
        ("room in the lanes", "owner", "local reply = left > 0\n      and own", "local reply = own",
         "a batch has no end", by(test_purge_leave.test_a_purge_takes_a_batch_at_a_time)),
        ("room in the delay set", "owner", "if left > 0 then", "if true then", "a batch has no end",
         by(test_purge_leave.test_a_purge_takes_a_batch_at_a_time)),
    ),
    *guards(
        "bury",
        ("record", "record", "if not job then\n      own(DEAD, 'ZREM', DEAD, key)\n    elseif job.state",
         "if job.state", "a dead letter whose record has expired is listed for ever",
         by(test_purge_leave.test_the_list_forgets_a_dead_letter_whose_record_has_expired)),
        ("dead", "state", "elseif job.state == 'dead' then", "else", "a job is deleted that somebody has requeued",
         by(test_purge_leave.test_a_dead_letter_that_somebody_requeued_meanwhile_is_not_deleted)),
    ),
    *guards(
        "outcomes",
        ("record", "record", "if job and ENDED", "if ENDED", "an unknown job hides the others",
         by(test_outcomes_status_events.test_outcomes_come_in_the_order_asked_for)),
        ("ended", "state", "if job and ENDED[job.state] then", "if job then",
         "the error of one attempt looks like the end",
         by(test_outcomes_status_events.test_a_job_that_has_not_ended_has_no_outcome_yet)),
        ("record of the state", "record", "job and job.state or ''", "job.state or ''",
         "an unknown job hides the others", by(test_outcomes_status_events.test_outcomes_come_in_the_order_asked_for)),
    ),
    *of_prelude(
        "ends",
        "purge",
        ("repeated call", "once", "if known then return cmsgpack.unpack(known) end", "",
         "a repeated purge answers that there was nothing to do",
         by(test_purge_leave.test_a_purge_whose_answer_was_lost_answers_the_same)),
    ),
]
