#!lua flags=allow-oom
-- prune: remove members of one of the queue's sets whose job is gone or does not belong there any more.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV[1] 'repair', or 'look' to change nothing   ARGV[2] 'delayed', 'expiring' or 'dead'
-- ARGV[3..] keys
-- Returns those that are removed.

local BELONG = {
  delayed = { delayed = true },
  expiring = { queued = true, delayed = true, waiting = true },
  dead = { dead = true },
}
local set, states = QUEUE .. ARGV[2], BELONG[ARGV[2]]
local gone = {}
for i = 3, #ARGV do
  local job = read_fields(ARGV[i], { 'state' })
  if not (job and states[job.state]) and call('ZSCORE', set, ARGV[i]) then
    if ARGV[1] == 'repair' then call('ZREM', set, ARGV[i]) end
    gone[#gone + 1] = ARGV[i]
  end
end
return gone
