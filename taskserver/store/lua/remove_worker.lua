#!lua flags=allow-oom
-- remove_worker: remove the consumers of workers that are gone, once nothing is pending for them, and trim entries that will
-- never be delivered again.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV    none
-- Returns the workers whose consumers were removed.

-- Somebody has moved the group past these entries, or acknowledged them by hand. Should one have been a live entry, its job
-- gets another.
local function trim_delivered(lane, key)
  local oldest = call('XPENDING', key, GROUP)[2]
  local last = last_delivered(lane)
  if not oldest or is_before(last, oldest) then
    call('XTRIM', key, 'MINID', last)
    call('XDEL', key, last)
  else
    call('XTRIM', key, 'MINID', oldest)
  end
end

local gone = {}
for _, lane in ipairs(LANES) do
  local key = lane_key(lane)
  for _, info in ipairs(call_or_reset(key, 'XINFO', 'CONSUMERS', key, GROUP)) do
    local name, pending = info[2], info[4]
    if pending == 0 and call('EXISTS', QUEUE .. 'worker:' .. name) == 0 then
      call('XGROUP', 'DELCONSUMER', key, GROUP, name)
      gone[#gone + 1] = name
    end
  end
  trim_delivered(lane, key)
end
for _, set in ipairs({ DELAYED, EXPIRING, DEAD }) do call_or_reset(set, 'ZCARD', set) end -- deletes a key of another type
call_or_reset(META, 'HLEN', META)
return gone
