#!lua flags=allow-oom
-- reclaim: take back jobs whose lease was not renewed; one worker at a time does so. The fence rises, so that the worker that
-- had the lease can no longer write; the attempt stays spent. An entry that was read but never begun costs no attempt.
-- Transition: running -> queued | cancelled; queued -> queued
-- KEYS[1] queue prefix
-- ARGV[1] worker that reclaims   ARGV[2] lease, milliseconds   ARGV[3] how long others leave it to this one, milliseconds
-- ARGV[4] entries read per lane at most
-- Returns { per job: key, worker that lost it ('' if it had not begun) }, or false where another one does.

local worker, lease_ms, hold_ms, count = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now = clock()
local taken = {}

-- Each worker calls this three times a lease. If none did for two thirds of one, this server was away
-- (frozen, restarted, cut off) or its clock has jumped: live workers could not renew their leases, and get as long to do so.
-- But not again and again: where all callers are late all the time, the leases of the dead must still run out.
local function was_away()
  local slack = lease_ms * 2 / 3
  local seen = call_or_reset(META, 'HMGET', META, 'looked', 'patient')
  local looked, patient = number(seen[1]) or now, number(seen[2]) or 0
  call('HSET', META, 'looked', format('%d', now))
  if now - looked > slack and now - patient > 2 * lease_ms then
    patient = now + slack
    call('HSET', META, 'patient', format('%d', patient))
  end
  return now < patient and patient <= now + slack
end

local away = was_away()
if not acquire_lock('sweeper', worker, hold_ms) then return false end
if away then return taken end

local function take_back(entry, key)
  local job = read_job(key)
  drop_entry(entry)
  if not job or job.entry ~= entry then return end
  local running = job.state == 'running'
  if not running and job.state ~= 'queued' then return end
  if running then
    call('HSET', job_key(key), 'fence', next_fence(job, now), 'history', 1)
    add_history(key, job.attempt, job.worker, 'lost', '', now)
    job.history = true
    if job.cancel then return end_job(key, job, 'cancelled', '', now) end
  end
  call('HSET', job_key(key), 'state', 'queued', 'entry', enqueue(key, 'returned'))
  taken[#taken + 1], taken[#taken + 2] = key, running and job.worker or ''
end

for _, lane in ipairs(LANES) do
  local name = 'cursor:' .. lane
  local _, cursor = parse_entry(lane .. '/' .. (call_or_reset(META, 'HGET', META, name) or ''))
  local stream = lane_key(lane)
  local reply = call_or_reset(stream, 'XAUTOCLAIM', stream, GROUP, RECLAIMER, lease_ms, cursor or '0-0', 'COUNT', count)
  if reply[1] ~= cursor then call('HSET', META, name, reply[1]) end
  for _, item in ipairs(reply[2]) do take_back(lane .. '/' .. item[1], key_in(item)) end
end
flush()
return taken
