#!lua flags=allow-oom
-- purge: cancel jobs that wait in the lanes or the delay set, a batch at a time; running jobs go on.
-- Transition: queued | delayed -> cancelled
-- KEYS[1] queue prefix
-- ARGV[1] jobs at most
-- Returns how many were looked at; 0 when nothing waits any more.

local now = clock()
local seen = 0

local function drop(key, entry)
  local job = key and read_job(key, ALL)
  if not job or (entry and job.entry ~= entry) then return drop_entry(entry) end
  if job.state == 'queued' or job.state == 'delayed' then end_job(key, job, 'cancelled', '', now) end
end

-- Entries behind the group's last one have not been delivered; those before it are being run.
for _, lane in ipairs(LANES) do
  local after = '-'
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', lane_key(lane))) do
    if group[2] == GROUP then after = '(' .. group[8] end
  end
  local left = tonumber(ARGV[1]) - seen
  local entries = left > 0 and redis.call('XRANGE', lane_key(lane), after, '+', 'COUNT', left) or {}
  for _, item in ipairs(entries) do
    drop(item[2][1] == 'job' and item[2][2], lane .. '/' .. item[1])
    seen = seen + 1
  end
end
local left = tonumber(ARGV[1]) - seen
if left > 0 then
  local keys = redis.call('ZRANGE', DELAYED, 0, left - 1)
  for _, key in ipairs(keys) do
    drop(key)
    seen = seen + 1
  end
  if #keys > 0 then redis.call('ZREM', DELAYED, unpack(keys)) end
end
flush()
return seen
