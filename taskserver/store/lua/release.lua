#!lua flags=allow-oom
-- release: hand back the jobs of a worker that stops; no attempt is spent, and others may claim them at once.
-- Transition: running -> queued | cancelled
-- KEYS[1] queue prefix
-- ARGV    per job: key, fence
-- Returns per job that was refused: key, reason ('done', 'stale' or 'gone').

local now = clock()

return move_attempts(1, 2, function(key, job)
  if job.cancel then return end_job(key, job, 'cancelled', '', now) end
  add_history(key, job.attempt, job.worker, 'released', '', now)
  drop_entry(job.entry)
  call('HSET', job_key(key), 'state', 'queued', 'entry', enqueue(key, 'returned'), 'attempt',
    unspent(job), 'history', 1)
end)
