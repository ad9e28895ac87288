#!lua flags=allow-oom
-- renew: a worker says that it is alive and keeps the leases of its running jobs.
-- A job whose stream entry was deleted or trimmed away gets a new one here, so that its lease can still be lost.
-- Transition: running -> running
-- KEYS[1] queue prefix
-- ARGV[1] worker   ARGV[2] what it says of itself, packed   ARGV[3] for how long that holds, milliseconds
-- ARGV[4..] per running job: key, fence
-- Returns per job that needs attention: key, 'lost' (the job moved on) or 'cancel' (it was asked to end).

local worker = ARGV[1]
local attention = {}

local function keep(entry)
  local lane, id = string.match(entry or '', '^(%a+)/(.+)$')
  -- FORCE makes the pending record anew where the group was rebuilt; JUSTID leaves the delivery count alone.
  return lane and #redis.call('XCLAIM', lane_key(lane), GROUP, worker, 0, id, 'JUSTID', 'FORCE') > 0
end

for i = 4, #ARGV, 2 do
  local key, fence = ARGV[i], ARGV[i + 1]
  local job = read_fields(key, { 'state', 'fence', 'entry', 'cancel' })
  if refusal(job, fence) ~= '' then
    attention[#attention + 1], attention[#attention + 2] = key, 'lost'
  else
    if not keep(job.entry) then
      local entry = enqueue(key, 'returned')
      redis.call('HSET', job_key(key), 'entry', entry)
      keep(entry)
    end
    if job.cancel then attention[#attention + 1], attention[#attention + 2] = key, 'cancel' end
  end
end
redis.call('SET', QUEUE .. 'worker:' .. worker, ARGV[2], 'PX', ARGV[3])
return attention
