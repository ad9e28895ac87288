#!lua flags=allow-oom
-- wait: let a job wait for the answer to a question, without a slot or lease.
-- Transition: running -> waiting | cancelled
-- KEYS[1] queue prefix
-- ARGV    per job: key, fence, packed question, milliseconds within which it must be answered (0: no limit)
-- Returns per job that was refused: key, reason ('done', 'stale' or 'gone').

local now = clock()

return move_attempts(1, 4, function(key, job, question, limit)
  if job.cancel then return end_job(key, job, 'cancelled', '', now) end
  -- The attempt that continues with the answer is this same one: it must not cost another.
  call('HSET', job_key(key), 'state', 'waiting', 'question', question, 'asked', now, 'attempt', unspent(job))
  call('HDEL', job_key(key), 'entry', 'answer', 'expires')
  if tonumber(limit) > 0 then
    call('HSET', job_key(key), 'expires', now + limit)
    expire_at(key, now + limit)
  end
  drop_entry(job.entry)
end)
