#!lua flags=allow-oom
-- reclaim: take back jobs whose lease ran out; one worker at a time does so. The fence rises, so that the worker that had the
-- lease can no longer write; the attempt stays spent. An entry that was read but never begun costs no attempt.
-- Transition: running -> queued | cancelled; queued -> queued
-- KEYS[1] queue prefix
-- ARGV[1] worker that reclaims   ARGV[2] its own lease, milliseconds   ARGV[3] entries looked at, at most
-- ARGV[4] 'patient', or 'now' to leave live workers no time to renew after this server was away
-- Returns { 1 if this worker is the reclaimer now, else 0; milliseconds after which to look again: 0 if there is more to look at;
--   per job that was taken back: key, worker that lost it ('' if it had not begun) }.
--
-- A lease is judged by what the worker that has it says: its key lives for a lease after each heartbeat. If the key is gone, the
-- leases of all its jobs are over. If it is there, those are over that were not renewed for as long as its lease.

local me, lease_ms, count, patience = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == 'patient'
local hold_ms = patience and math.max(1, math.floor(lease_ms * 2 / 3)) or 1 -- the others leave it to this one for two turns
local now = clock()
local seen = call_or_reset(META, 'HMGET', META, 'looked', 'patient', 'shortest', 'longest')
local looked, patient = number(seen[1]) or now, number(seen[2]) or 0
local shortest, longest = number(seen[3]) or lease_ms, math.max(number(seen[4]) or 0, lease_ms)

-- The reclaimer looks three times in the shortest lease. If nobody looked for two thirds of it, this server was away (frozen,
-- restarted, cut off) or its clock has jumped: live workers could not renew their leases, and get time to do so. But not again
-- and again: where all callers are late all the time, the leases of the dead must still run out.
local gap = now - looked
if gap > shortest * 2 / 3 and now - patient > 2 * math.min(gap, longest) then
  patient = now + math.floor(math.min(gap, longest * 2 / 3))
end
local away = patience and now < patient and patient <= now + longest * 2 / 3
call('HSET', META, 'looked', digits(now), 'patient', digits(patient))

-- Whoever has a shorter lease takes over, and wakes the others, so that they look as often from now on.
local lock = QUEUE .. 'sweeper'
local left = call('PTTL', lock)
if left > hold_ms then
  call('UNLINK', lock)
  publish_control('reclaim')
end
-- The others come as often as it does: so there is no gap when it dies.
local pace = math.max(1, math.floor(math.min(left, shortest / 3)))
if not acquire_lock('sweeper', me, hold_ms) then return { 0, pace, {} } end

-- What a worker says of its lease, in milliseconds; anybody may have written it.
local function stated_lease(snapshot)
  local _, about = pcall(cmsgpack.unpack, snapshot)
  local stated = type(about) == 'table' and number(about.valid_ms)
  return stated and stated > 0 and stated or lease_ms
end

-- The lease of a worker, in milliseconds; false if it is gone.
local leases, soonest, longest_alive = {}, lease_ms, lease_ms
local function lease_of(worker)
  local known = leases[worker]
  if known ~= nil then return known end
  local key = QUEUE .. 'worker:' .. worker
  local snapshot = read_string(key)
  known = snapshot ~= '' and stated_lease(snapshot)
  if known then
    longest_alive = math.max(longest_alive, known)
    local ends = call('PTTL', key)
    if ends >= 0 then soonest = math.min(soonest, ends) end
  end
  leases[worker] = known
  return known
end

local holders = {}
for _, lane in ipairs(LANES) do
  for _, info in ipairs(call_or_reset(lane_key(lane), 'XINFO', 'CONSUMERS', lane_key(lane), GROUP)) do
    if info[4] > 0 then
      lease_of(info[2])
      holders[#holders + 1] = { lane, info[2] }
    end
  end
end
if not away then longest = longest_alive end
call('HSET', META, 'shortest', digits(lease_ms), 'longest', digits(longest))
if away then return { 1, math.max(1, patient - now), {} } end

local taken = {}
local function take_back(entry, key, consumer)
  local job = read_job(key)
  if not job or job.entry ~= entry then return drop_entry(entry) end
  local running = job.state == 'running'
  if not running and job.state ~= 'queued' then return drop_entry(entry) end
  -- Its group was rebuilt, or its entry replaced: it goes back to the worker that runs it.
  if running and job.worker ~= consumer and lease_of(job.worker or '') then return lease(entry, job.worker) end
  drop_entry(entry)
  if running then
    call('HSET', job_key(key), 'fence', next_fence(job, now), 'history', 1)
    add_history(key, job.attempt, job.worker, 'lost', '', now)
    job.history = true
    if job.cancel then return end_job(key, job, 'cancelled', '', now) end
  end
  call('HSET', job_key(key), 'state', 'queued', 'entry', enqueue(key, 'returned'))
  taken[#taken + 1], taken[#taken + 2] = key, running and job.worker or ''
end

-- Entries of a consumer whose lease is over; all that it holds, if it is gone.
local function overdue(stream, consumer)
  local valid = lease_of(consumer)
  if not valid then return call('XPENDING', stream, GROUP, '-', '+', digits(count), consumer) end
  return call('XPENDING', stream, GROUP, 'IDLE', digits(valid), '-', '+', digits(count), consumer)
end

for _, holder in ipairs(holders) do
  if count == 0 then break end
  local lane, consumer = holder[1], holder[2]
  local stream, ids = lane_key(lane), {}
  for i, pending in ipairs(overdue(stream, consumer)) do ids[i] = pending[1] end
  count = count - #ids
  in_parts(ids, function(...)
    -- Entries that were deleted while they were pending are not in the answer.
    for _, item in ipairs(call('XCLAIM', stream, GROUP, RECLAIMER, '0', ...)) do
      take_back(lane .. '/' .. item[1], key_in(item), consumer)
    end
  end)
end
flush()
return { 1, count == 0 and 0 or soonest + 1, taken }
