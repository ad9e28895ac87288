#!lua flags=no-writes
-- outcomes: how jobs stand for those who wait for them.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV    keys
-- Returns per job: state ('' if unknown), packed result or error ('' until it ended).

local ENDED = { succeeded = true, failed = true, dead = true, cancelled = true, expired = true }
local replies = {}
for i, key in ipairs(ARGV) do
  local values = redis.call('HMGET', job_key(key), 'state', 'data')
  local data = ''
  if ENDED[values[1]] then data = values[2] or redis.call('GET', outcome_key(key)) or '' end
  replies[2 * i - 1], replies[2 * i] = values[1] or '', data
end
return replies
