#!lua flags=allow-oom
-- leave: remove a stopped worker's consumers from the groups, except those with pending entries: these would be dropped too,
-- and nobody would take their jobs back.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV[1] worker
-- Returns how many consumers had to stay.

local stayed = 0
for _, lane in ipairs(LANES) do
  if #call_or_reset(lane_key(lane), 'XPENDING', lane_key(lane), GROUP, '-', '+', 1, ARGV[1]) == 0 then
    call('XGROUP', 'DELCONSUMER', lane_key(lane), GROUP, ARGV[1])
  else
    stayed = stayed + 1
  end
end
call('DEL', QUEUE .. 'worker:' .. ARGV[1])
return stayed
