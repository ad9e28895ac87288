#!lua flags=no-writes
-- find_stranded: jobs that nothing would wake, end or list any more; `repair_jobs` repairs them.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV    keys
-- Returns the keys of those jobs.

local now = clock()

-- A live worker's next heartbeat adds the entry that its job lacks.
local function is_left_to_worker(job)
  return job.state == 'running' and call('EXISTS', QUEUE .. 'worker:' .. (job.worker or '')) == 1
end

local function needs_repair(key, job)
  if is_stranded(key, job, now) and not is_left_to_worker(job) then return true end
  return is_never_expiring(key, job)
end

local stranded = {}
for _, key in ipairs(ARGV) do
  local job = read_job(key)
  if job and needs_repair(key, job) then stranded[#stranded + 1] = key end
end
return stranded
