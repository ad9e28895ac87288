#!lua flags=allow-oom
-- defer: this worker cannot run the job, since it does not know the tool or message type. The job is delayed until another
-- worker can, for longer the longer it has waited; after `patience` it is dead.
-- Transition: running -> delayed | dead | cancelled
-- KEYS[1] queue prefix
-- ARGV[1] patience, milliseconds   ARGV[2] shortest delay   ARGV[3] longest delay
-- ARGV[4..] per job: key, fence, packed error
-- Returns per job that was refused: key, reason ('done', 'stale' or 'gone').

local patience, shortest, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = clock()

return move_attempts(4, 3, function(key, job, error)
  local waited = now - (job.unknown or now)
  local attempt = unspent(job)
  call('HSET', job_key(key), 'attempt', attempt)
  if job.cancel then return end_job(key, job, 'cancelled', '', now) end
  if waited >= patience then
    add_history(key, attempt, job.worker, 'dead', error, now)
    job.history = true
    return end_job(key, job, 'dead', error, now)
  end
  local due = now + math.min(longest, math.max(shortest, math.floor(waited / 2)), math.max(1, patience - waited))
  store_outcome(key, error, false, LIVE_TTL, 'state', 'delayed', 'due', due, 'unknown', now - waited)
  call('HDEL', job_key(key), 'entry')
  delay(key, due)
  drop_entry(job.entry)
end)
