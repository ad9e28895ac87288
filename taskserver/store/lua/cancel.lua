#!lua flags=allow-oom
-- cancel: end jobs that are not running; ask the workers of running ones to stop them.
-- Transition: queued | delayed | waiting -> cancelled; running -> running
-- KEYS[1] queue prefix
-- ARGV    keys
-- Returns per job the state it is in now, or '' if it is unknown.

local states = {}
local now = clock()
for i, key in ipairs(ARGV) do
  local job = read_job(key)
  if not job then
    states[i] = ''
  elseif job.state == 'running' then
    call('HSET', job_key(key), 'cancel', now)
    publish_control('cancel', key)
    states[i] = 'running'
  elseif ENDED[job.state] then
    states[i] = job.state
  else
    call_or_reset(DELAYED, 'ZREM', DELAYED, key)
    end_job(key, job, 'cancelled', '', now)
    states[i] = 'cancelled'
  end
end
flush()
return states
