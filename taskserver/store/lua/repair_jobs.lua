#!lua flags=allow-oom
-- repair_jobs: restore from the job's hash what belongs to it elsewhere: its stream entry, its lease, its member in the sets of
-- delayed, expiring and dead jobs. Somebody has deleted, trimmed, overwritten or skipped it. A record that cannot be read
-- becomes a dead letter.
-- Transition: queued -> queued; running -> running; delayed -> delayed; waiting -> waiting; dead -> dead
-- KEYS[1] queue prefix
-- ARGV    keys
-- Returns the keys of the jobs that were repaired.

local now = clock()
local repaired = {}

local REPAIRS = {
  queued = function(key, job)
    -- Now, not in the flush: a stream that was deleted begins again, and may give the same id once more.
    local old_lane, id = parse_entry(job.entry)
    if old_lane then call('XDEL', lane_key(old_lane), id) end
    local lane = call('HGET', job_key(key), 'lane') -- the whole stream may be gone: the priority stays
    call('HSET', job_key(key), 'entry', enqueue(key, lane))
  end,
  -- Its worker's next heartbeat takes the lease; without a worker, it runs out.
  running = function(key, job) keep_lease(key, job, RECLAIMER) end,
  delayed = function(key) delay(key, number(call('HGET', job_key(key), 'due')) or now) end,
  dead = function(key) call_or_reset(DEAD, 'ZADD', DEAD, dead_since(key, now), key) end,
}

local function make_dead_letter(key)
  if call('EXISTS', job_key(key)) == 0 then return false end -- it has expired meanwhile
  local error = cmsgpack.pack({ 'RecordLost', 'the record of this job was overwritten in the broker', '' })
  local fields = try('HMGET', job_key(key), 'fence', 'entry')
  if fields.err then fields = {} end
  call_or_reset(job_key(key), 'HSET', job_key(key), 'fence', next_fence({ fence = fields[1] }, now), 'history', 1)
  call_or_reset(DELAYED, 'ZREM', DELAYED, key)
  add_history(key, 0, '', 'dead', error, now)
  end_job(key, { entry = fields[2], said = true, history = true, expires = true }, 'dead', error, now)
  return true
end

local function repair(key)
  local job = read_job(key)
  if not job then return make_dead_letter(key) end
  local is_expiry_lost = is_never_expiring(key, job)
  if is_expiry_lost then expire_at(key, job.expires) end
  if not is_stranded(key, job, now) then return is_expiry_lost end
  REPAIRS[job.state](key, job)
  return true
end

for _, key in ipairs(ARGV) do
  if repair(key) then repaired[#repaired + 1] = key end
end
flush()
return repaired
