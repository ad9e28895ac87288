#!lua flags=allow-oom
-- finish: attempts ended and so do their jobs. Safe to repeat when the answer was lost.
-- Transition: running -> succeeded | failed | dead | cancelled
-- KEYS[1] queue prefix
-- ARGV    per job: key, fence, attempts spent, state, packed result or error
-- Returns per job that was refused: key, reason ('done', 'stale' or 'gone').

local refused = {}
local now = clock()
for i = 1, #ARGV, 5 do
  local key, fence, attempt, state, data = unpack(ARGV, i, i + 4)
  local job = read_job(key, ALL)
  local why = refusal(job, fence)
  if why == '' then
    if job.attempt ~= attempt then redis.call('HSET', job_key(key), 'attempt', attempt) end
    if state ~= 'succeeded' then
      remember(key, job.attempt, job.worker, state, data, now)
      job.history = true
    end
    end_job(key, job, state, data, now)
  else
    refused[#refused + 1], refused[#refused + 2] = key, why
  end
end
flush()
return refused
