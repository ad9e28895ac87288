-- prelude, entries: the stream entries that wake jobs, and news. What a script drops and tells is gathered, and goes out in
-- one flush.

-- A job's live entry is written "lane/id": the one stream entry that stands for it. Any other is a leftover.
local function enqueue(key, lane)
  if not IS_LANE[lane] then lane = 'normal' end
  local stream = lane_key(lane)
  return lane .. '/' .. call_or_reset(stream, 'XADD', stream, '*', 'job', key)
end

-- The job that a stream's entry names. Anybody may have written it: only the job's record says whether it is its live entry.
local function key_in(item) return item[2][2] end

local function fits(digits) return #digits < 20 or (#digits == 20 and digits <= '18446744073709551615') end

-- Whether the server takes it for a stream id: two numbers of 64 bits. Only forged ones are so long that it matters.
local function is_id(id)
  local time, sequence = match(id, '^(%d+)%-(%d+)$')
  return fits(time) and fits(sequence)
end

-- Lane and id of an entry as it is written in a job's hash; nil for what cannot be one.
local function place(entry)
  local lane, id = match(entry or '', '^(%l+)/(%d+%-%d+)$')
  if IS_LANE[lane] and (#id < 20 or is_id(id)) then return lane, id end
end

-- Whether one stream id comes before another. Their parts may be larger than what Lua's numbers hold exactly.
local function before(one, other)
  if #one == #other and byte(one, find(other, '-', 1, true)) == 45 then return one < other end
  local a, b, c, d = match(one .. ' ' .. other, '^(%d+)%-(%d+) (%d+)%-(%d+)$')
  if a == c then a, c = b, d end
  return #a < #c or (#a == #c and a < c)
end

-- Up to where the group of a lane has read. A group or stream that is gone will be made anew, and begin at the start.
local function last_delivered(lane)
  for _, group in ipairs(try('XINFO', 'GROUPS', lane_key(lane))) do
    if group[2] == GROUP then return group[8] end
  end
  return '0-0'
end

-- Whether the job's entry is pending, or will still be delivered.
local delivered = {}
local function is_awake(job)
  local lane, id = place(job.entry)
  if not lane then return false end
  local found = try('XRANGE', lane_key(lane), id, id)
  if is_foreign(found) or #found == 0 then return false end
  delivered[lane] = delivered[lane] or last_delivered(lane)
  return before(delivered[lane], id) or #call('XPENDING', lane_key(lane), GROUP, id, id, 1) > 0
end

-- From now on the worker has the entry's lease; false if there is no such entry. FORCE makes the pending record anew where
-- the group was rebuilt; JUSTID leaves the delivery count alone.
local function lease(entry, worker)
  local lane, id = place(entry)
  return lane and #call_or_reset(lane_key(lane), 'XCLAIM', lane_key(lane), GROUP, worker, 0, id, 'JUSTID', 'FORCE') > 0
end

-- The lease of a running job; with another entry if its own was deleted or trimmed away, so that it can still be lost.
local function keep_lease(key, job, worker)
  if lease(job.entry, worker) then return end
  local entry = enqueue(key, 'returned')
  call('HSET', job_key(key), 'entry', entry, 'moved', 1) -- the worker knows the old one only
  lease(entry, worker)
end

local FEW = 4 -- entries that go one by one

-- Entries to take off their streams, gathered so that a batch costs one XACK and one XDEL per lane.
local dropped = {}
local function drop_entry(entry)
  local lane, id = place(entry)
  if not lane then return end
  local ids = dropped[lane]
  if ids then ids[#ids + 1] = id else dropped[lane] = { id } end
end

-- News for the submitters, by their routes, gathered so that a batch costs one PUBLISH per submitter: 'e' and the ids of jobs
-- with new events, 24 characters each; 'd' and what `tell_end` says of each job that ended (store/jobs/notifications.py).
local news = {}
local function words_for(key)
  local route = sub(key, 11, 16)
  local words = news[route]
  if not words then words = { d = {}, e = {} }; news[route] = words end
  return words
end

local function tell_events(key)
  local words = words_for(key).e
  words[#words + 1] = key
end

-- A job's end: id, first letter of the state, the outcome's length and the outcome itself, which saves whoever waits a look. A
-- length of 255: look it up.
local function tell_end(key, state, data)
  local size, words = #data, words_for(key).d
  local told = size > 0 and size < 255
  local n = #words
  words[n + 1], words[n + 2] = key, sub(state, 1, 1)
  words[n + 3], words[n + 4] = char(told and size or 255), told and data or ''
end

-- What nobody has pending up to where the group has read is done with, and may all go at once: of these ids, those that then
-- are left. It is for many: XDEL looks for each one through all the entries that share its node, which costs as much as
-- all else that is done at the end of a job.
local function trim(lane, ids)
  local stream, bound = lane_key(lane), last_delivered(lane)
  local pending = try('XPENDING', stream, GROUP, '-', '+', 1)[1]
  if pending and before(pending[1], bound) then bound = pending[1] end
  call('XTRIM', stream, 'MINID', '=', bound)
  local left = {}
  for _, id in ipairs(ids) do
    if not before(id, bound) then left[#left + 1] = id end
  end
  return left
end

-- What was gathered goes out; each script that gathers calls it once, last.
local function flush()
  for lane, ids in pairs(dropped) do
    call_or_reset(lane_key(lane), 'XACK', lane_key(lane), GROUP, unpack(ids))
    if #ids > FEW then ids = trim(lane, ids) end
    if #ids > 0 then call('XDEL', lane_key(lane), unpack(ids)) end
  end
  for route, by_kind in pairs(news) do
    for kind, words in pairs(by_kind) do
      if #words > 0 then call('PUBLISH', QUEUE .. 'done:' .. route, kind .. table.concat(words)) end
    end
  end
end

-- Workers listen here for what cannot wait for their next heartbeat.
local function control(...)
  call('PUBLISH', QUEUE .. 'control', table.concat({ ... }, ' '))
end

-- The job waits in the delay set until `due`; workers are told if it is the next one.
local function delay(key, due)
  call_or_reset(DELAYED, 'ZADD', DELAYED, due, key)
  if call('ZRANGE', DELAYED, 0, 0)[1] == key then control('due', format('%d', due)) end
end
