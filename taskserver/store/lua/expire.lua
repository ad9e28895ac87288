#!lua flags=allow-oom
-- expire: end jobs that were not started in time, and questions that were not answered in time.
-- Transition: queued | delayed | waiting -> expired
-- KEYS[1] queue prefix
-- ARGV[1] jobs at most   ARGV[2..] keys of jobs that the caller has seen to be overdue: they end although they are missing from
--   the set of times, which somebody may have deleted
-- Returns { how many of the set, milliseconds until the next one expires, or -1 if none waits }.

local now = clock()
local due = call_or_reset(EXPIRING, 'ZRANGE', EXPIRING, '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])
for _, key in ipairs(due) do
  local job = read_job(key)
  if job and job.state ~= 'running' and not ENDED[job.state] then
    call_or_reset(DELAYED, 'ZREM', DELAYED, key)
    end_job(key, job, 'expired', '', now)
  else
    call('ZREM', EXPIRING, key)
  end
end
for i = 2, #ARGV do
  local job = read_job(ARGV[i])
  if job and may_expire(job) and job.expires <= now then
    call_or_reset(DELAYED, 'ZREM', DELAYED, ARGV[i])
    end_job(ARGV[i], job, 'expired', '', now)
  end
end
flush()
local next = call('ZRANGE', EXPIRING, 0, 0, 'WITHSCORES')[2]
return { #due, next and math.max(0, tonumber(next) - now) or -1 }
