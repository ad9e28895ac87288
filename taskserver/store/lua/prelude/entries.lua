-- prelude, entries: the stream entries that wake jobs, and news. What a script drops and tells is gathered, and goes out in
-- one flush.

-- A job's live entry is written "lane/id": the one stream entry that stands for it. Any other is a leftover.
local function enqueue(key, lane)
  if not IS_LANE[lane] then lane = 'normal' end
  return lane .. '/' .. own(lane_key(lane), 'XADD', lane_key(lane), '*', 'job', key)
end

-- The job that a stream's entry names. Anybody may have written it: only the job's record says whether it is its live entry.
local function key_in(item) return item[2][2] end

local function fits(digits) return #digits < 20 or (#digits == 20 and digits <= '18446744073709551615') end

-- Lane and id of an entry as it is written in a job's hash; nil for what cannot be one.
local function place(entry)
  local lane, id, time, sequence = string.match(entry or '', '^(%l+)/((%d+)%-(%d+))$')
  if IS_LANE[lane] and fits(time) and fits(sequence) then return lane, id end
end

-- Whether one stream id comes before another. Their parts may be larger than what Lua's numbers hold exactly.
local function before(one, other)
  local a, b, c, d = string.match(one .. ' ' .. other, '^(%d+)%-(%d+) (%d+)%-(%d+)$')
  if a == c then a, c = b, d end
  return #a < #c or (#a == #c and a < c)
end

-- Up to where the group of a lane has read.
local function last_delivered(lane)
  for _, group in ipairs(own(lane_key(lane), 'XINFO', 'GROUPS', lane_key(lane))) do
    if group[2] == GROUP then return group[8] end
  end
  error(redis.error_reply('NOGROUP the lane ' .. lane .. ' has no group'))
end

-- From now on the worker has the entry's lease; false if there is no such entry. FORCE makes the pending record anew where
-- the group was rebuilt; JUSTID leaves the delivery count alone.
local function lease(entry, worker)
  local lane, id = place(entry)
  return lane and #own(lane_key(lane), 'XCLAIM', lane_key(lane), GROUP, worker, 0, id, 'JUSTID', 'FORCE') > 0
end

-- The lease of a running job; with another entry if its own was deleted or trimmed away, so that it can still be lost.
local function keep_lease(key, job, worker)
  if lease(job.entry, worker) then return end
  local entry = enqueue(key, 'returned')
  redis.call('HSET', job_key(key), 'entry', entry)
  lease(entry, worker)
end

-- Entries to take off their streams, gathered so that a batch costs one XACK and one XDEL per lane.
local dropped = {}
local function drop_entry(entry)
  local lane, id = place(entry)
  if not lane then return end
  local ids = dropped[lane]
  if ids then ids[#ids + 1] = id else dropped[lane] = { id } end
end

-- News for the submitters, gathered so that a batch costs one PUBLISH per submitter.
-- "d" and the ids of jobs that ended, or "e" and the ids of jobs with new events, 24 characters each.
local news = {}
local function tell(kind, key)
  local channel = QUEUE .. 'done:' .. string.sub(key, 11, 16)
  local by_kind = news[channel]
  if not by_kind then by_kind = {}; news[channel] = by_kind end
  local ids = by_kind[kind]
  if ids then ids[#ids + 1] = key else by_kind[kind] = { key } end
end

-- What was gathered goes out; each script that gathers calls it once, last.
local function flush()
  for lane, ids in pairs(dropped) do
    own(lane_key(lane), 'XACK', lane_key(lane), GROUP, unpack(ids))
    redis.call('XDEL', lane_key(lane), unpack(ids))
  end
  for channel, by_kind in pairs(news) do
    for kind, ids in pairs(by_kind) do redis.call('PUBLISH', channel, kind .. table.concat(ids)) end
  end
end

-- Workers listen here for what cannot wait for their next heartbeat.
local function control(...)
  redis.call('PUBLISH', QUEUE .. 'control', table.concat({ ... }, ' '))
end

-- The job waits in the delay set until `due`; workers are told if it is the next one.
local function delay(key, due)
  own(DELAYED, 'ZADD', DELAYED, due, key)
  if redis.call('ZRANGE', DELAYED, 0, 0)[1] == key then control('due', string.format('%d', due)) end
end
