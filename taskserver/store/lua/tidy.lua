#!lua flags=allow-oom
-- tidy: consumers of workers that are gone leave the groups, once nothing is pending for them any more.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV    none
-- Returns the workers whose consumers left.

local gone = {}
for _, lane in ipairs(LANES) do
  for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', lane_key(lane), GROUP)) do
    local name, pending = info[2], info[4]
    if pending == 0 and name ~= SWEEPER and redis.call('EXISTS', QUEUE .. 'worker:' .. name) == 0 then
      redis.call('XGROUP', 'DELCONSUMER', lane_key(lane), GROUP, name)
      gone[#gone + 1] = name
    end
  end
end
return gone
