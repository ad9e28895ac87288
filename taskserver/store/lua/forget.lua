#!lua flags=allow-oom
-- forget: delete the structures of a queue that has been empty and unused for long. The caller has made sure that it has no
-- record of a job.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV[1] 'forget', or 'look' to change nothing, or 'mark' to record for a queue that never had a job that it is unused
-- ARGV[2] for how long it must have been unused, milliseconds
-- Returns 1 if it is such a queue, else 0.

local now = clock()

-- A key of the wrong type is not empty; the next audit sets it aside.
local function is_empty()
  if try('HEXISTS', META, 'paused') ~= 0 then return false end
  for _, set in ipairs({ DELAYED, EXPIRING, DEAD }) do
    if call('EXISTS', set) == 1 then return false end
  end
  for _, lane in ipairs(LANES) do
    if try('XLEN', lane_key(lane)) ~= 0 then return false end
  end
  return true
end

-- On some servers a worker that never got a job is not a consumer; the caller has looked for those.
local function is_served()
  for _, lane in ipairs(LANES) do
    local consumers = try('XINFO', 'CONSUMERS', lane_key(lane), GROUP) -- an error has no items
    for _, info in ipairs(consumers) do
      if call('EXISTS', QUEUE .. 'worker:' .. info[2]) == 1 then return true end
    end
  end
  return false
end

-- When the last job came; if there never was one, when that was first recorded.
local function last_used()
  local last = 0
  for _, lane in ipairs(LANES) do
    local info = try('XINFO', 'STREAM', lane_key(lane))
    for i = 1, #info, 2 do
      local is_last = info[i] == 'last-generated-id'
      if is_last then last = math.max(last, tonumber(match(info[i + 1], '^%d+'))) end
    end
  end
  if last > 0 then return last end
  if ARGV[1] == 'mark' then call('HSETNX', META, 'idle', format('%d', now)) end
  return number(call('HGET', META, 'idle')) or now
end

if not is_empty() or is_served() or now - last_used() < tonumber(ARGV[2]) then return 0 end
if ARGV[1] == 'forget' then
  for _, lane in ipairs(LANES) do call('UNLINK', lane_key(lane)) end
  call('UNLINK', META)
end
return 1
