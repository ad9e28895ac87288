#!lua flags=allow-oom
-- renew: report that a worker is alive, and renew the leases of its running jobs. A job whose stream entry was deleted or
-- trimmed gets a new one, so that its lease can still be lost.
-- Transition: running -> running
-- KEYS[1] queue prefix
-- ARGV[1] worker   ARGV[2] its packed snapshot   ARGV[3] how long it counts as alive, milliseconds
-- ARGV[4..] per running job: key, fence
-- Returns per job that needs attention: key, 'lost' (the job moved on) or 'cancel' (it was asked to end).

local worker = ARGV[1]
local attention = {}

for i = 4, #ARGV, 2 do
  local key, fence = ARGV[i], ARGV[i + 1]
  local job = read_fields(key, { 'state', 'fence', 'entry', 'cancel' })
  if refusal(job, fence) ~= '' then
    attention[#attention + 1], attention[#attention + 2] = key, 'lost'
  else
    keep_lease(key, job, worker)
    if job.cancel then attention[#attention + 1], attention[#attention + 2] = key, 'cancel' end
  end
end
-- Live workers are found as consumers, even without a job so far. If the group is missing, it will soon be created again.
try('XGROUP', 'CREATECONSUMER', lane_key('returned'), GROUP, worker)
call('SET', QUEUE .. 'worker:' .. worker, ARGV[2], 'PX', ARGV[3])
return attention
