#!lua flags=allow-oom
-- retry: delay a failed attempt's job for its next attempt; end it if it was cancelled meanwhile.
-- Transition: running -> delayed | cancelled
-- KEYS[1] queue prefix
-- ARGV    per job: key, fence, delay in milliseconds, packed error
-- Returns per job that was refused: key, reason ('done', 'stale' or 'gone').

local now = clock()

return move_attempts(1, 4, function(key, job, wait, error)
  add_history(key, job.attempt, job.worker, 'retry', error, now)
  job.history = true
  if job.cancel then return end_job(key, job, 'cancelled', '', now) end
  local due = now + tonumber(wait)
  store_outcome(key, error, is_first(job), LIVE_TTL, 'state', 'delayed', 'due', due, 'history', 1)
  call('HDEL', job_key(key), 'entry', 'unknown')
  delay(key, due)
  drop_entry(job.entry)
end)
