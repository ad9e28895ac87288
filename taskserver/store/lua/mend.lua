#!lua flags=allow-oom
-- mend: jobs that nothing would wake any more are woken: their stream entry was deleted or trimmed away, their worker
-- died after that, or they dropped out of the delay set. The truth is in the job's hash; the rest is made anew from it.
-- Transition: queued | running | delayed -> queued | cancelled | delayed
-- KEYS[1] queue prefix
-- ARGV    keys
-- Returns the keys of the jobs that were mended.

local now = clock()
local mended = {}

local function has_entry(job)
  local lane, id = string.match(job.entry or '', '^(%a+)/(.+)$')
  return lane and #redis.call('XRANGE', lane_key(lane), id, id) > 0
end

-- A live worker's next heartbeat mends its own jobs; one that is gone has left this one behind.
local function lose(key, job)
  redis.call('HSET', job_key(key), 'fence', tonumber(job.fence) + 1, 'history', 1)
  remember(key, job.attempt, job.worker, 'lost', '', now)
  job.history = true
  if job.cancel then return end_job(key, job, 'cancelled', '', now) end
  redis.call('HSET', job_key(key), 'state', 'queued', 'entry', enqueue(key, 'returned'))
end

local function mend(key)
  local job = read_job(key)
  if not job then return false end
  if job.state == 'queued' and not has_entry(job) then
    local lane = redis.call('HGET', job_key(key), 'lane') or 'normal' -- a whole stream may be gone: priorities stay
    redis.call('HSET', job_key(key), 'entry', enqueue(key, lane))
  elseif job.state == 'running' and not has_entry(job)
    and redis.call('EXISTS', QUEUE .. 'worker:' .. (job.worker or '')) == 0 then
    lose(key, job)
  elseif job.state == 'delayed' and not redis.call('ZSCORE', DELAYED, key) then
    delay(key, tonumber(redis.call('HGET', job_key(key), 'due')) or now)
  else
    return false
  end
  return true
end

for _, key in ipairs(ARGV) do
  if mend(key) then mended[#mended + 1] = key end
end
flush()
return mended
