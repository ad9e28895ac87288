#!lua flags=allow-oom
-- prepare: make the queue's lanes and their groups where they are missing. Groups start at the beginning of their
-- lanes, so that jobs submitted before are not missed. Allowed when memory is out: workers must be able to start
-- then, since only they can empty the queue.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV    none
-- Returns how many were missing.

local made = 0
for _, lane in ipairs(LANES) do
  call_or_reset(lane_key(lane), 'XLEN', lane_key(lane)) -- what is no stream goes
  local reply = try('XGROUP', 'CREATE', lane_key(lane), GROUP, '0', 'MKSTREAM')
  if not reply.err then
    made = made + 1
  elseif not find(reply.err, 'BUSYGROUP', 1, true) then
    return reply
  end
end
return made
