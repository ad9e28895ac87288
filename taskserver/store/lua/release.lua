#!lua flags=allow-oom
-- release: a worker that stops hands jobs back; the attempt is not spent, and others may claim at once.
-- Transition: running -> queued | cancelled
-- KEYS[1] queue prefix
-- ARGV    per job: key, fence
-- Returns per job that was refused: key, reason ('done', 'stale' or 'gone').

local refused = {}
local now = clock()
for i = 1, #ARGV, 2 do
  local key, fence = ARGV[i], ARGV[i + 1]
  local job = read_job(key, ALL)
  local why = refusal(job, fence)
  if why ~= '' then
    refused[#refused + 1], refused[#refused + 2] = key, why
  elseif job.cancel then
    end_job(key, job, 'cancelled', '', now)
  else
    remember(key, job.attempt, job.worker, 'released', '', now)
    drop_entry(job.entry)
    redis.call('HSET', job_key(key), 'state', 'queued', 'entry', enqueue(key, 'returned'), 'attempt',
      tonumber(job.attempt) - 1, 'history', 1)
  end
end
flush()
return refused
