#!lua flags=allow-oom
-- prepare: create the queue's lanes and groups that are missing. Groups start at the beginning of their lanes, so that no
-- earlier job is missed. Allowed when the server is out of memory: workers must be able to start then, since only they can
-- empty the queue. If workers have served the queue before, its streams may be gone too: the next janitor audits it fast.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV    none
-- Returns how many were missing.

local made = 0
for _, lane in ipairs(LANES) do
  call_or_reset(lane_key(lane), 'XLEN', lane_key(lane)) -- deletes a key of another type
  local reply = try('XGROUP', 'CREATE', lane_key(lane), GROUP, '0', 'MKSTREAM')
  if not reply.err then
    made = made + 1
  elseif not find(reply.err, 'BUSYGROUP', 1, true) then
    return reply
  end
end
if made > 0 and call_or_reset(META, 'HEXISTS', META, 'looked') == 1 then call('HSET', META, 'rebuilt', 1) end
return made
