#!lua flags=allow-oom
-- repair_jobs: what stands for a job outside its hash is made anew from it: its stream entry, its lease, its place in the sets of
-- delayed, expiring and dead jobs. Somebody has deleted, trimmed, overwritten or skipped it. A record that cannot be read
-- any more becomes a dead letter.
-- Transition: queued -> queued; running -> running; delayed -> delayed; waiting -> waiting; dead -> dead
-- KEYS[1] queue prefix
-- ARGV    keys
-- Returns the keys of the jobs that were mended.

local now = clock()
local mended = {}

-- Puts the job into one of the sets; false if it was there already.
local function list(set, time, key)
  return call_or_reset(set, 'ZADD', set, 'NX', time, key) == 1
end

local MENDERS = {
  queued = function(key, job)
    if is_awake(job) then return false end
    -- Now, not in the flush: a stream that was deleted begins anew, and may give the same id once more.
    local place_of, id = place(job.entry)
    if place_of then call('XDEL', lane_key(place_of), id) end
    local lane = call('HGET', job_key(key), 'lane') -- a whole stream may be gone: priorities stay
    call('HSET', job_key(key), 'entry', enqueue(key, lane))
    return true
  end,
  -- Its worker's next heartbeat takes the lease; if there is none, it runs out.
  running = function(key, job)
    if is_awake(job) then return false end
    keep_lease(key, job, SWEEPER)
    return true
  end,
  delayed = function(key)
    local due = number(call('HGET', job_key(key), 'due')) or now
    if not list(DELAYED, due, key) then return false end
    delay(key, due)
    return true
  end,
  dead = function(key)
    local since = dead_since(key, now)
    return since and list(DEAD, since, key)
  end,
}

local function is_relisted(key, job)
  return may_expire(job) and list(EXPIRING, job.expires, key)
end

local function bury(key)
  if call('EXISTS', job_key(key)) == 0 then return false end -- it has expired meanwhile
  local error = cmsgpack.pack({ 'RecordLost', 'the record of this job was overwritten in the broker', '' })
  local fields = try('HMGET', job_key(key), 'fence', 'entry')
  if fields.err then fields = {} end
  call_or_reset(job_key(key), 'HSET', job_key(key), 'fence', next_fence({ fence = fields[1] }, now), 'history', 1)
  call_or_reset(DELAYED, 'ZREM', DELAYED, key)
  remember(key, 0, '', 'dead', error, now)
  end_job(key, { entry = fields[2], said = true, history = true, expires = true }, 'dead', error, now)
  return true
end

local function mend(key)
  local job = read_job(key)
  if not job then return bury(key) end
  local mender = MENDERS[job.state]
  local missed = mender and mender(key, job)
  return is_relisted(key, job) or missed
end

for _, key in ipairs(ARGV) do
  if mend(key) then mended[#mended + 1] = key end
end
flush()
return mended
