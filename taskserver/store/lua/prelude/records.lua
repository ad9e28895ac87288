-- prelude, records: reading a job's hash, whatever somebody may have written there by hand.

-- A command on a key of ours. If somebody else has stored another type there, it is deleted for good; so is a stream that
-- accepts no more entries because somebody wrote its last id. A transition must not fail for that, and the janitor restores
-- what jobs lose by it. (The janitor itself renames such a key and keeps it for 30 days: check_keys.) Any other error is raised.
local function call_or_reset(key, ...)
  local reply = try(...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  local is_last = find(reply.err, 'exhausted', 1, true) or find(reply.err, 'equal or smaller', 1, true)
  if not (find(reply.err, '^WRONGTYPE') or is_last) then error(reply) end
  call('UNLINK', key)
  return call(...)
end

-- Whether an answer says that the key is of another type. Any other error is raised.
local function is_wrong_type(reply)
  if type(reply) ~= 'table' or not reply.err then return false end
  if not find(reply.err, '^WRONGTYPE') then error(reply) end
  return true
end

-- The string at a key, up to READABLE bytes; '' if there is none, or it is of another type.
local function read_string(key)
  local value = try('GETRANGE', key, '0', READABLE)
  return is_wrong_type(value) and '' or value
end

-- What HMGET has read of a job's hash, 'state' the first; nil if there is no record. A key of another type or an unknown state
-- is no record either; the janitor makes dead letters of them. Any other error must be raised, or a live entry would be
-- dropped.
local function record_of(values)
  if values.err and not find(values.err, '^WRONGTYPE') then error(values) end
  if ENDED[values[1]] == nil then return nil end
  return values
end

-- A number from a job's hash; nil if somebody has written anything else there.
local function number(field)
  if not field then return nil end
  local n = tonumber(field)
  return n and n >= 0 and n < 1e15 and n or nil
end

-- The named fields of a job, unconverted, in a table; nil if it has no record.
local function read_fields(key, fields)
  local values = record_of(try('HMGET', job_key(key), unpack(fields)))
  if not values then return nil end
  local job = {}
  for i = 1, #fields do job[fields[i]] = values[i] or nil end
  return job
end

-- How many fields a plain record has, with nothing but what every job has: state and entry, and once it runs attempt, fence,
-- worker and start. No job in another state has as many and the same entry, or the same fence (tests/store/test_plain.py).
local QUEUED, RUNNING = 2, 6

-- Whether a record has `size` fields, and this value in one of them: then the others need not be read. Each field that is
-- read costs half a command.
local function is_plain(record, size, field, value)
  return try('HLEN', record) == size and call('HGET', record, field) == value
end

-- The fields that scripts need of a job that they may end.
local function read_job(key)
  local v = record_of(try('HMGET', job_key(key), 'state', 'fence', 'entry', 'attempt', 'ttl', 'said', 'history',
    'expires', 'worker', 'cancel', 'unknown'))
  return v and {
    state = v[1], fence = v[2] or nil, entry = v[3] or nil, attempt = number(v[4]), ttl = number(v[5]), said = v[6] or nil,
    history = v[7] or nil, expires = number(v[8]), worker = v[9] or nil, cancel = v[10] or nil, unknown = number(v[11]),
  }
end

-- A fence is never below the time: when a record has expired and its key is used again, or when a failover has undone claims,
-- a worker from before must still be refused.
local function next_fence(job, now) return math.max(number(job.fence) or 0, now) + 1 end

-- The job's attempts without the current one.
local function unspent(job) return math.max(0, (job.attempt or 0) - 1) end
