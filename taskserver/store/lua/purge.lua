#!lua flags=allow-oom
-- purge: cancel queued and delayed jobs, one batch of them; running jobs continue.
-- Transition: queued | delayed -> cancelled
-- KEYS[1] queue prefix
-- ARGV[1] the call's name, the same when it is repeated   ARGV[2] jobs at most
-- Returns { how many entries and delayed jobs were read: 0 when none is left, how many jobs were cancelled }.

local now = clock()
local seen, cancelled = 0, 0

local function cancel_waiting(key, entry)
  local job = read_job(key)
  if not job or job.entry ~= entry then return drop_entry(entry) end
  if job.state == 'queued' or job.state == 'delayed' then
    end_job(key, job, 'cancelled', '', now)
    cancelled = cancelled + 1
  end
end

-- Each entry is read as a worker would read it, so the next batch continues after it. One that turns out to be a
-- running job's (its group was rebuilt, or its entry replaced) stays pending: the next heartbeat takes it back.
return answer_once(ARGV[1], function()
  for _, lane in ipairs(LANES) do
    local left = tonumber(ARGV[2]) - seen
    local reply = left > 0
      and call_or_reset(lane_key(lane), 'XREADGROUP', 'GROUP', GROUP, RECLAIMER, 'COUNT', left, 'STREAMS', lane_key(lane), '>')
    for _, item in ipairs(reply and reply[1][2] or {}) do
      cancel_waiting(key_in(item), lane .. '/' .. item[1])
      seen = seen + 1
    end
  end
  local left = tonumber(ARGV[2]) - seen
  if left > 0 then
    local keys = call_or_reset(DELAYED, 'ZRANGE', DELAYED, 0, left - 1)
    for _, key in ipairs(keys) do
      cancel_waiting(key)
      seen = seen + 1
    end
    in_parts(keys, function(...) call('ZREM', DELAYED, ...) end)
  end
  flush()
  return { seen, cancelled }
end)
