#!lua flags=no-writes
-- outcomes: how jobs stand for those who wait for them.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV    keys
-- Returns per job: state ('' if unknown), packed result or error ('' until it ended).

local ENDED = { succeeded = true, failed = true, dead = true, cancelled = true, expired = true }
local replies = {}
for i, key in ipairs(ARGV) do
  local job = read_fields(key, { 'state', 'data' })
  local data = ''
  if job and ENDED[job.state] then data = job.data or read_text(outcome_key(key)) end
  replies[2 * i - 1], replies[2 * i] = job and job.state or '', data
end
return replies
