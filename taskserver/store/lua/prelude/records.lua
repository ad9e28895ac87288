-- prelude, records: reading what a job's hash says, whatever somebody may have written there by hand.

-- A command on a key of ours. What somebody else has put there, of another type, goes; so does a stream that takes no more
-- entries since somebody wrote its last id. The janitor makes anew what is lost with it. Any other error is raised.
local function own(key, ...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if not (string.find(reply.err, '^WRONGTYPE') or string.find(reply.err, 'exhausted', 1, true)) then error(reply) end
  redis.call('UNLINK', key)
  return redis.call(...)
end

-- Whether an answer says that the key holds something else. Any other error is raised.
local function is_foreign(reply)
  if type(reply) ~= 'table' or not reply.err then return false end
  if not string.find(reply.err, '^WRONGTYPE') then error(reply) end
  return true
end

-- What a key holds, as far as it may be long: ours are shorter. '' if there is none, or it holds something else.
local function read_text(key)
  local value = redis.pcall('GETRANGE', key, 0, READABLE)
  return is_foreign(value) and '' or value
end

-- What HMGET has read of a job's hash, 'state' the first; nil where there is no record. A key of another type and a state that
-- is none are no record either; the janitor makes dead letters of them. Any other error must be raised: a live entry would
-- be dropped.
local function record_of(values)
  if values.err and not string.find(values.err, '^WRONGTYPE') then error(values) end
  if ENDED[values[1]] == nil then return nil end
  return values
end

-- A number from a job's hash; nil for anything else that somebody may have written there.
local function number(field)
  if not field then return nil end
  local n = tonumber(field)
  return n and n >= 0 and n < 1e15 and math.floor(n) or nil
end

-- The named fields of a job, as they are, in a table; nil if it has no record.
local function read_fields(key, fields)
  local values = record_of(redis.pcall('HMGET', job_key(key), unpack(fields)))
  if not values then return nil end
  local job = {}
  for i = 1, #fields do job[fields[i]] = values[i] or nil end
  return job
end

-- How many fields a record has of which nothing is known but what every job has: state and entry, and once it runs attempt,
-- fence, worker and start.
local QUEUED, RUNNING = 2, 6

-- Whether a record has so many fields; if it also has the ones that QUEUED or RUNNING counts, it has none of those that few jobs
-- have. To count costs a tenth of looking for them in vain.
local function has(key, size) return redis.pcall('HLEN', job_key(key)) == size end

-- What scripts must know of a job that they may end. On the hot path a table that is written out is several times cheaper
-- than one that grows.
local function read_job(key)
  if has(key, RUNNING) then
    local v = redis.call('HMGET', job_key(key), 'state', 'fence', 'entry', 'attempt', 'worker', 'started')
    if v[2] and v[3] and v[4] and v[5] and v[6] and record_of(v) then
      return { state = v[1], fence = v[2], entry = v[3], attempt = number(v[4]), worker = v[5] }
    end
  end
  local v = record_of(redis.pcall('HMGET', job_key(key), 'state', 'fence', 'entry', 'attempt', 'ttl', 'said', 'history',
    'expires', 'worker', 'cancel', 'unknown'))
  return v and {
    state = v[1], fence = v[2] or nil, entry = v[3] or nil, attempt = number(v[4]), ttl = number(v[5]), said = v[6] or nil,
    history = v[7] or nil, expires = number(v[8]), worker = v[9] or nil, cancel = v[10] or nil, unknown = number(v[11]),
  }
end

-- A fence is never below the time: when a record has expired and its key comes again, or when a failover took claims back, a
-- worker that is late by all that must not fit.
local function next_fence(job, now) return math.max(number(job.fence) or 0, now) + 1 end

-- The attempts of a job whose current one is not to count.
local function unspent(job) return math.max(0, (job.attempt or 0) - 1) end
