#!lua flags=no-writes
-- find_stranded: which jobs would nothing wake, end or list any more? `mend` does something about them.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV    keys
-- Returns the keys of those jobs.

local now = clock()

local SLEEPS = {
  queued = function(_, job) return not is_awake(job) end,
  -- A live worker's next heartbeat writes another entry.
  running = function(_, job)
    return not is_awake(job) and call('EXISTS', QUEUE .. 'worker:' .. (job.worker or '')) == 0
  end,
  delayed = function(key) return not call('ZSCORE', DELAYED, key) end,
  dead = function(key) return dead_since(key, now) and not call('ZSCORE', DEAD, key) end,
}

local function is_unlisted(key, job)
  return may_expire(job) and not call('ZSCORE', EXPIRING, key)
end

local asleep = {}
for _, key in ipairs(ARGV) do
  local job = read_job(key)
  local sleeps = job and SLEEPS[job.state]
  if sleeps and sleeps(key, job) or job and is_unlisted(key, job) then asleep[#asleep + 1] = key end
end
return asleep
