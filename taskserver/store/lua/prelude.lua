-- prelude: stands in front of every script: the keys of a queue, the clock, news, and the end of a job.
--
-- KEYS[1] of every script is the queue's prefix, "ts:{queue}:". All keys of a queue share its hash tag, so they
-- live in one slot of a cluster and a script may build those that it learns of only as it reads.
-- Python's names for the same keys are in store/keys.py; a test holds the two together.

local QUEUE = KEYS[1]
local GROUP = 'workers'
local SWEEPER = 'sweeper' -- the consumer that entries go to which no worker took
local SMALL = 64 -- bytes; a longer field would push the job's hash out of its compact encoding
local DAY = 86400000
local RESULT_TTL = DAY -- of an ended job's record, in milliseconds, unless the submitter said otherwise
local DEAD_TTL = 30 * DAY -- of a dead letter
local LIVE_TTL = 30 * DAY -- of a live job's side keys (events, history, last error), renewed by each write
local HISTORY = 50 -- entries kept of a job's history
local READABLE = 4194304 + 64 -- bytes read of a message or outcome: more than any may have, so that readers see that
local LANES = { 'returned', 'high', 'normal', 'low' }

local DELAYED, DEAD, EXPIRING, META = QUEUE .. 'delayed', QUEUE .. 'dead', QUEUE .. 'expiring', QUEUE .. 'meta'

local function lane_key(lane) return QUEUE .. 'lane:' .. lane end
local function job_key(key) return QUEUE .. 'job:' .. key end
local function message_key(key) return QUEUE .. 'msg:' .. key end
local function outcome_key(key) return QUEUE .. 'out:' .. key end
local function events_key(key) return QUEUE .. 'events:' .. key end
local function history_key(key) return QUEUE .. 'history:' .. key end

-- Milliseconds since 1970 by this server's clock, the only one that transitions go by.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- What a key holds, as far as it may be long: ours are shorter. '' if there is none, or it holds something else.
local function read_text(key)
  local value = redis.pcall('GETRANGE', key, 0, READABLE)
  return type(value) == 'string' and value or ''
end

-- The named fields of a job, 'state' the first, as a table; nil if it has no record, or the key holds something else.
local function read_fields(key, fields)
  local values = redis.pcall('HMGET', job_key(key), unpack(fields))
  if values.err or not values[1] then return nil end
  local job = {}
  for i = 1, #fields do job[fields[i]] = values[i] or nil end
  return job
end

-- The same for what a script must know of a job that it may end. On the hot path a table that is written out is several
-- times cheaper than one that grows.
local function read_job(key)
  local v = redis.pcall('HMGET', job_key(key), 'state', 'fence', 'entry', 'attempt', 'ttl', 'said', 'history', 'expires',
    'worker', 'cancel', 'unknown')
  if v.err or not v[1] then return nil end
  return {
    state = v[1], fence = v[2] or nil, entry = v[3] or nil, attempt = v[4] or nil, ttl = v[5] or nil, said = v[6] or nil,
    history = v[7] or nil, expires = v[8] or nil, worker = v[9] or nil, cancel = v[10] or nil, unknown = v[11] or nil,
  }
end

-- A job's live entry is written "lane/id": the one stream entry that stands for it. Any other is a leftover.
local function enqueue(key, lane)
  return lane .. '/' .. redis.call('XADD', lane_key(lane), '*', 'job', key)
end

-- Entries to take off their streams, gathered so that a batch costs one XACK and one XDEL per lane.
local dropped = {}
local function drop_entry(entry)
  local lane, id = string.match(entry or '', '^(%a+)/(.+)$')
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
    redis.call('XACK', lane_key(lane), GROUP, unpack(ids))
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
  redis.call('ZADD', DELAYED, due, key)
  if redis.call('ZRANGE', DELAYED, 0, 0)[1] == key then control('due', string.format('%d', due)) end
end

-- Whether no earlier attempt can have left an outcome; a deferred one does so without being counted.
local function is_first(job) return job.attempt == '1' and not job.unknown end

-- A result or error: short ones inside the job's hash (with the other fields to set), longer ones in a string of
-- their own. What an earlier attempt left in the other place goes.
local function store_outcome(key, data, first, ttl, ...)
  if #data > SMALL then
    redis.call('SET', outcome_key(key), data, 'PX', ttl)
    redis.call('HSET', job_key(key), ...)
    if not first then redis.call('HDEL', job_key(key), 'data') end
  else
    redis.call('HSET', job_key(key), 'data', data, ...)
    if not first then redis.call('UNLINK', outcome_key(key)) end
  end
end

-- One line of history, as the domain's AttemptRecord is packed; `packed` is a packed Failure or ''.
local function remember(key, attempt, worker, event, packed, now)
  local record = { tonumber(attempt) or 0, now, worker or '', event }
  local line = cmsgpack.pack(record)
  if packed ~= '' then line = '\149' .. string.sub(line, 2) .. packed end -- an array of 5 instead of 4
  redis.call('RPUSH', history_key(key), line)
  redis.call('LTRIM', history_key(key), -HISTORY, -1)
  redis.call('PEXPIRE', history_key(key), LIVE_TTL)
end

-- The end of a job, whichever way: outcome, time to live for all its keys, news. `job` is from read_job; `data`
-- is '' where there is no outcome, and then the last attempt's error stays.
local function end_job(key, job, state, data, now)
  local ttl = tonumber(job.ttl) or RESULT_TTL
  if state == 'dead' then
    ttl = math.max(ttl, DEAD_TTL)
    redis.call('ZADD', DEAD, now, key)
    redis.call('ZREMRANGEBYSCORE', DEAD, '-inf', now - DEAD_TTL)
  end
  if data ~= '' then
    store_outcome(key, data, is_first(job), ttl, 'state', state, 'ended', now)
  else
    redis.call('HSET', job_key(key), 'state', state, 'ended', now)
    if job.attempt then redis.call('PEXPIRE', outcome_key(key), ttl) end
  end
  redis.call('PEXPIRE', job_key(key), ttl)
  redis.call('PEXPIRE', message_key(key), ttl)
  if job.said then redis.call('PEXPIRE', events_key(key), ttl) end
  if job.history then redis.call('PEXPIRE', history_key(key), ttl) end
  if job.expires then redis.call('ZREM', EXPIRING, key) end
  drop_entry(job.entry)
  tell('d', key)
end

-- Why the worker may not write for this attempt: '' when it may, 'done' when this very attempt has already
-- moved the job (a repeated call whose first answer was lost), 'stale' when the job moved on without it.
local function refusal(job, fence)
  if not job then return 'gone' end
  if job.fence ~= fence then return 'stale' end
  if job.state ~= 'running' then return 'done' end
  return ''
end

-- What scripts by which a worker moves its attempts have in common: ARGV from `first` on holds, per job, key, fence
-- and what else `move` wants; `width` values in all. Returns per job that was refused: key, reason.
local function move_attempts(first, width, move)
  local refused = {}
  for i = first, #ARGV, width do
    local key = ARGV[i]
    local job = read_job(key)
    local why = refusal(job, ARGV[i + 1])
    if why == '' then
      move(key, job, unpack(ARGV, i + 2, i + width - 1))
    else
      refused[#refused + 1], refused[#refused + 2] = key, why
    end
  end
  flush()
  return refused
end
