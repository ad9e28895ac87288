#!lua flags=allow-oom
-- promote: queue delayed jobs that are due.
-- Transition: delayed -> queued
-- KEYS[1] queue prefix
-- ARGV[1] jobs at most
-- Returns { how many, milliseconds until the next one is due, or -1 if none waits }.

local now = clock()
local due = call_or_reset(DELAYED, 'ZRANGE', DELAYED, '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])
for _, key in ipairs(due) do
  local job = read_fields(key, { 'state', 'lane' })
  if job and job.state == 'delayed' then
    call('HSET', job_key(key), 'state', 'queued', 'entry', enqueue(key, job.lane))
    call('HDEL', job_key(key), 'due')
  end
end
in_parts(due, function(...) call('ZREM', DELAYED, ...) end)
local next = call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2]
return { #due, next and math.max(0, tonumber(next) - now) or -1 }
