#!lua flags=no-writes
-- outcomes: read the state and outcome of jobs, for those who await them.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV    keys
-- Returns per job: state ('' if unknown), packed result or error (until it ended, the milliseconds until it expires, '' if it
-- does not); for fewer jobs than asked when their results are large: at least for the first.

local LARGE = 4 * 1024 * 1024 -- bytes; an answer is twice that at most, since no result is larger
local size = 0
local replies = {}

local function time_left(key)
  local job = read_job(key)
  return may_expire(job) and digits(math.max(0, job.expires - clock())) or ''
end

for i, key in ipairs(ARGV) do
  local job = read_fields(key, { 'state', 'data', 'expires' })
  local data = ''
  if job and ENDED[job.state] then
    data = job.data or read_string(outcome_key(key))
  elseif job and job.expires then
    data = time_left(key)
  end
  replies[2 * i - 1], replies[2 * i] = job and job.state or '', data
  size = size + #data
  if size > LARGE then break end
end
return replies
