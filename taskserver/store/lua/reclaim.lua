#!lua flags=allow-oom
-- reclaim: take back jobs whose lease was not renewed, one sweeper at a time. The fence rises, so the worker that
-- had the lease can no longer write; the attempt stays spent. An entry that was read but never begun costs none.
-- Transition: running | queued -> queued | cancelled
-- KEYS[1] queue prefix
-- ARGV[1] worker that sweeps   ARGV[2] lease, milliseconds   ARGV[3] how long others leave the sweep to it, milliseconds
-- ARGV[4] entries looked at per lane
-- Returns { per job: key, worker that lost it ('' if it had not begun) }, or false where another one sweeps.

local me, lease, hold, count = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lock = QUEUE .. 'sweeper'
local now = clock()
local taken = {}

-- Workers ask for a sweep three times a lease, each of them. If none did for two thirds of one, this server was away
-- (frozen, restarted, cut off) or its clock has jumped: live workers could not renew their leases, and get as long to do so.
local function was_away()
  local slack = lease * 2 / 3
  local seen = redis.call('HMGET', META, 'looked', 'patient')
  local looked, patient = tonumber(seen[1] or now), tonumber(seen[2] or now)
  redis.call('HSET', META, 'looked', string.format('%d', now))
  if now - looked > slack then
    patient = now + slack
    redis.call('HSET', META, 'patient', string.format('%d', patient))
  end
  return now < patient and patient <= now + slack
end

local away = was_away()
if not redis.call('SET', lock, me, 'NX', 'PX', hold) and redis.call('GET', lock) ~= me then return false end
if away then return taken end

local function take_back(entry, key)
  local job = key and read_job(key)
  drop_entry(entry)
  if not job or job.entry ~= entry then return end
  local running = job.state == 'running'
  if not running and job.state ~= 'queued' then return end
  if running then
    redis.call('HSET', job_key(key), 'fence', tonumber(job.fence) + 1, 'history', 1)
    remember(key, job.attempt, job.worker, 'lost', '', now)
    job.history = true
    if job.cancel then return end_job(key, job, 'cancelled', '', now) end
  end
  redis.call('HSET', job_key(key), 'state', 'queued', 'entry', enqueue(key, 'returned'))
  taken[#taken + 1], taken[#taken + 2] = key, running and job.worker or ''
end

for _, lane in ipairs(LANES) do
  local cursor = redis.call('HGET', META, 'cursor:' .. lane) or '0-0'
  local reply = redis.call('XAUTOCLAIM', lane_key(lane), GROUP, SWEEPER, lease, cursor, 'COUNT', count)
  if reply[1] ~= cursor then redis.call('HSET', META, 'cursor:' .. lane, reply[1]) end
  for _, item in ipairs(reply[2]) do
    local fields = item[2]
    take_back(lane .. '/' .. item[1], fields and fields[1] == 'job' and fields[2])
  end
end
flush()
return taken
