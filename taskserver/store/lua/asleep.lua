#!lua flags=no-writes
-- asleep: which jobs would nothing wake any more? `mend` wakes them.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV    keys
-- Returns the keys of those jobs.

local SLEEPS = {
  queued = function(_, job) return not is_awake(job) end,
  -- A live worker's next heartbeat writes another entry.
  running = function(_, job)
    return not is_awake(job) and redis.call('EXISTS', QUEUE .. 'worker:' .. (job.worker or '')) == 0
  end,
  delayed = function(key) return not redis.call('ZSCORE', DELAYED, key) end,
}

local asleep = {}
for _, key in ipairs(ARGV) do
  local job = read_fields(key, { 'state', 'entry', 'worker' })
  local sleeps = job and SLEEPS[job.state]
  if sleeps and sleeps(key, job) then asleep[#asleep + 1] = key end
end
return asleep
