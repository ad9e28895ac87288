#!lua flags=allow-oom
-- hold: renew the leases of what a claim has given to a worker, while its answer is on the way over a slow link.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV[1] worker   ARGV[2] leases renewed within so many milliseconds are left alone   ARGV[3] entries per lane at most
-- Returns nothing.

local worker, since, count = ARGV[1], ARGV[2], ARGV[3]
for _, lane in ipairs(LANES) do
  local stream = lane_key(lane)
  local pending = call_or_reset(stream, 'XPENDING', stream, GROUP, 'IDLE', since, '-', '+', count, worker)
  for _, entry in ipairs(pending) do lease(lane .. '/' .. entry[1], worker) end
end
