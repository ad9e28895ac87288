#!lua flags=allow-oom
-- finish: attempts ended and so do their jobs. Safe to repeat when the answer was lost.
-- Transition: running -> succeeded | failed | dead | cancelled
-- KEYS[1] queue prefix
-- ARGV    per job: key, fence, attempts spent, state, packed result or error
-- Returns per job that was refused: key, reason ('done', 'stale' or 'gone').

local now = clock()

return move_attempts(1, 5, function(key, job, attempt, state, data)
  if job.attempt ~= tonumber(attempt) then redis.call('HSET', job_key(key), 'attempt', attempt) end
  if state ~= 'succeeded' then
    remember(key, job.attempt, job.worker, state, data, now)
    job.history = true
  end
  end_job(key, job, state, data, now)
end)
