-- prelude, entries: the stream entries that wake jobs, and notifications. What a script drops and publishes is gathered, and
-- goes out in one flush.

-- A job's live entry is written "lane/id": the one stream entry that counts. Any other is a leftover.
local function enqueue(key, lane)
  if not IS_LANE[lane] then lane = 'normal' end
  local stream = lane_key(lane)
  return lane .. '/' .. call_or_reset(stream, 'XADD', stream, '*', 'job', key)
end

-- The job that a stream entry names. Anybody may have written it: only the job's record says whether it is its live entry.
local function key_in(item) return item[2][2] end

local function is_64_bit(digits) return #digits < 20 or (#digits == 20 and digits <= '18446744073709551615') end

-- Whether the server accepts it as a stream id: two numbers of 64 bits. Only forged ones are long enough for this to matter.
local function is_id(id)
  local time, sequence = match(id, '^(%d+)%-(%d+)$')
  return is_64_bit(time) and is_64_bit(sequence)
end

-- Lane and id of an entry as a job's hash holds it; nil if it is not valid.
local function parse_entry(entry)
  local lane, id = match(entry or '', '^(%l+)/(%d+%-%d+)$')
  if IS_LANE[lane] and (#id < 20 or is_id(id)) then return lane, id end
end

-- Whether one stream id comes before another. Their parts may be too large for Lua's numbers, so they are compared as text.
local function is_before(one, other)
  if #one == #other and byte(one, find(other, '-', 1, true)) == 45 then return one < other end
  local a, b, c, d = match(one .. ' ' .. other, '^(%d+)%-(%d+) (%d+)%-(%d+)$')
  if a == c then a, c = b, d end
  return #a < #c or (#a == #c and a < c)
end

-- The last entry of a lane that its group has delivered. A group or stream that is missing will be created, and begin at 0.
local function last_delivered(lane)
  for _, group in ipairs(try('XINFO', 'GROUPS', lane_key(lane))) do
    if group[2] == GROUP then return group[8] end
  end
  return '0-0'
end

-- Whether the job's entry is pending, or will still be delivered.
local delivered = {}
local function is_deliverable(job)
  local lane, id = parse_entry(job.entry)
  if not lane then return false end
  local found = try('XRANGE', lane_key(lane), id, id)
  if is_wrong_type(found) or #found == 0 then return false end
  delivered[lane] = delivered[lane] or last_delivered(lane)
  return is_before(delivered[lane], id) or #call('XPENDING', lane_key(lane), GROUP, id, id, 1) > 0
end

-- Gives the worker the entry's lease from now on; false if there is no such entry. FORCE creates the pending record again
-- after the group was rebuilt; JUSTID leaves the delivery count alone.
local function lease(entry, worker)
  local lane, id = parse_entry(entry)
  return lane and #call_or_reset(lane_key(lane), 'XCLAIM', lane_key(lane), GROUP, worker, 0, id, 'JUSTID', 'FORCE') > 0
end

-- Renews the lease of a running job; with a new entry if its own was deleted or trimmed, so that the lease can still be lost.
local function keep_lease(key, job, worker)
  if lease(job.entry, worker) then return end
  local entry = enqueue(key, 'returned')
  call('HSET', job_key(key), 'entry', entry, 'moved', 1) -- the worker only knows the old one
  lease(entry, worker)
end

local FEW = 4 -- entries that are deleted one by one

-- Entries to take off their streams, gathered so that a batch costs one XACK and one XDEL per lane.
local dropped = {}
local function drop_entry(entry)
  local lane, id = parse_entry(entry)
  if not lane then return end
  local ids = dropped[lane]
  if ids then ids[#ids + 1] = id else dropped[lane] = { id } end
end

-- Notifications for submitters, by their routes, gathered so that a batch costs one PUBLISH per submitter: 'e' and the keys of
-- jobs with new events, 24 characters each; 'd' and what `notify_end` adds for each job that ended
-- (store/jobs/notifications.py).
local notifications = {}
local function notifications_for(key)
  local route = byte(key) == 107 and sub(key, 1, 3) or sub(key, 11, 16) -- 107 is 'k': see domain/ids.py
  local parts = notifications[route]
  if not parts then parts = { d = {}, e = {} }; notifications[route] = parts end
  return parts
end

local function notify_events(key)
  local parts = notifications_for(key).e
  parts[#parts + 1] = key
end

-- A job's end: key, first letter of the state, the outcome's length and the outcome itself, which saves the submitter a round
-- trip. A length of 255 means that the outcome must be read.
local function notify_end(key, state, data)
  local size, parts = #data, notifications_for(key).d
  local inline = size > 0 and size < 255
  local n = #parts
  parts[n + 1], parts[n + 2] = key, sub(state, 1, 1)
  parts[n + 3], parts[n + 4] = char(inline and size or 255), inline and data or ''
end

-- Trims the lane up to the first entry that is pending or not delivered; returns those of `ids` that are left. It is for many
-- entries: XDEL looks for each one through all the entries that share its node, which costs as much as everything else at the
-- end of a job.
local function trim(lane, ids)
  local stream, bound = lane_key(lane), last_delivered(lane)
  local pending = try('XPENDING', stream, GROUP, '-', '+', 1)[1]
  if pending and is_before(pending[1], bound) then bound = pending[1] end
  call('XTRIM', stream, 'MINID', '=', bound)
  local left = {}
  for _, id in ipairs(ids) do
    if not is_before(id, bound) then left[#left + 1] = id end
  end
  return left
end

-- Sends what was gathered; each script that gathers calls it once, last.
local function flush()
  for lane, ids in pairs(dropped) do
    local stream = lane_key(lane)
    in_parts(ids, function(...) call_or_reset(stream, 'XACK', stream, GROUP, ...) end)
    if #ids > FEW then ids = trim(lane, ids) end
    in_parts(ids, function(...) call('XDEL', stream, ...) end)
  end
  for route, by_kind in pairs(notifications) do
    for kind, parts in pairs(by_kind) do
      if #parts > 0 then call('PUBLISH', DONE .. route, kind .. table.concat(parts)) end
    end
  end
end

-- Tells the queue's workers what cannot wait for their next heartbeat (store/broker/control.py).
local function publish_control(...)
  call('PUBLISH', CONTROL, table.concat({ ... }, ' '))
end

-- Puts the job into the delay set until `due`; workers are notified if it is the next one.
local function delay(key, due)
  call_or_reset(DELAYED, 'ZADD', DELAYED, due, key)
  if call('ZRANGE', DELAYED, 0, 0)[1] == key then publish_control('due', format('%d', due)) end
end

-- Lets the job expire at `time`, unless it has begun by then, or its question is answered. Workers are not notified, as that
-- would cost each of them two calls per job: whoever awaits or reads the job ends it, and schedulers look by themselves.
local function expire_at(key, time) call_or_reset(EXPIRING, 'ZADD', EXPIRING, time, key) end
