#!lua flags=allow-oom
-- claim: begin attempts for up to `slots` queued jobs. Attempt and fence rise before any code of the job runs, so that a job
-- that kills its worker is counted.
-- Transition: queued -> running | dead | expired
-- KEYS[1] queue prefix
-- ARGV[1] worker   ARGV[2] slots   ARGV[3..5] quota of high, normal, low
-- ARGV[6] maximum number of attempts for a job without its own
-- ARGV[7..] entries that the worker's blocking read has returned: lane, entry id, job key ('' if it has none)
-- Returns { 'paused', 'more' (jobs may be left in the lanes) or 'drained', how many jobs like these the next answer has room
--   for (0 if it began none), { per job: key, attempt, fence, max or '', message, entry },
--   { per discarded entry: entry, reason } }

local BYTES = 1024 * 1024 -- of messages in one answer, so that it soon arrives over a slow link too; a larger one comes alone
local LOOKED_AT = 1000 -- entries that one call looks at

local worker, slots, cap = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[6])
local now = clock()
local jobs, discarded = {}, {}
local begun, size, looked, full = 0, 0, 0, false

local function discard(entry, reason)
  drop_entry(entry)
  discarded[#discarded + 1] = entry
  discarded[#discarded + 1] = reason
end

local function end_dead(key, kind, text)
  local job = read_job(key)
  local error = cmsgpack.pack({ kind, text, '' }) -- as the domain's Failure is packed
  add_history(key, job.attempt, job.worker, 'dead', error, now)
  job.history = true
  end_job(key, job, 'dead', error, now)
end

-- Whether the answer has room for this message; once it does not, it is full.
local function fits(payload)
  full = full or (begun > 0 and size + #payload > BYTES)
  return not full
end

-- How many more messages there is room for, if they are like those before. The first read is for all slots, since the worker
-- asks for no more jobs than its last answer had room for; entries without room are given back.
local function room()
  if begun == 0 then return slots end
  return math.floor((BYTES - size) * begun / size)
end

-- Queues a job again whose entry was read, but for which there is no slot or room.
local function give_back(entry, key)
  local job = read_fields(key, { 'state', 'entry' })
  local live = job and job.entry == entry
  if live and job.state == 'running' then return end -- as in `take`: it is the only way to notice a lost lease
  drop_entry(entry)
  if live and job.state == 'queued' then
    call('HSET', job_key(key), 'entry', enqueue(key, 'returned'))
  end
end

local started = digits(now)
local function run(key, attempt, fence, max, payload, entry)
  call('HSET', job_key(key), 'state', 'running', 'attempt', digits(attempt), 'fence', digits(fence), 'worker', worker,
    'started', started)
  local n = #jobs
  jobs[n + 1], jobs[n + 2], jobs[n + 3], jobs[n + 4], jobs[n + 5], jobs[n + 6] = key, attempt, fence, max, payload, entry
  begun, size = begun + 1, size + #payload
end

local function begin(key, job)
  local payload = read_string(message_key(key))
  local attempt = job.attempt or 0
  if payload == '' then return end_dead(key, 'MessageLost', 'the message of this job is gone from the broker') end
  if attempt == 0 and job.expires and now > job.expires then
    return end_job(key, read_job(key), 'expired', '', now)
  end
  if attempt >= (job.max or cap) then
    local text = format('all %d attempts are used up, the last by a worker that died or was lost', attempt)
    return end_dead(key, 'WorkerLost', text)
  end
  if not fits(payload) then return give_back(job.entry, key) end
  if job.expires then call_or_reset(EXPIRING, 'ZREM', EXPIRING, key) end
  run(key, attempt + 1, next_fence(job, now), job.max or '', payload, job.entry)
end

-- Begins the first attempt of a plain job, as most are; returns whether the job was plain.
local first = next_fence({}, now)
local function begin_plain(entry, key)
  if not is_plain(job_key(key), QUEUED, 'entry', entry) then return false end
  local payload = read_string(message_key(key))
  if payload == '' or not fits(payload) then return false end
  run(key, 1, first, '', payload, entry)
  return true
end

-- Like read_job, with only the fields that a claim needs.
local function read_claimable(key)
  local v = record_of(try('HMGET', job_key(key), 'state', 'entry', 'attempt', 'fence', 'max', 'expires'))
  return v and {
    state = v[1], entry = v[2] or nil, attempt = number(v[3]), fence = v[4] or nil, max = number(v[5]), expires = number(v[6]),
  }
end

local function take(entry, key)
  if begin_plain(entry, key) then return end
  local job = read_claimable(key)
  if not job then return discard(entry, 'it names an unknown job') end
  if job.entry ~= entry then return discard(entry, 'it is not the live entry of its job') end
  -- Running with this very entry: the group was rebuilt under a live worker. Its next heartbeat takes the entry
  -- back; if it is dead, the reclaimer will.
  if job.state == 'running' then return end
  if job.state ~= 'queued' then return discard(entry, 'its job is ' .. job.state) end
  return begin(key, job)
end

-- Begins up to `count` jobs of a lane; returns whether it has no more.
local function read_lane(lane, count)
  local stream, enough = lane_key(lane), begun + count
  while begun < enough do
    local asked = math.min(enough - begun, room(), LOOKED_AT - looked)
    full = full or asked < 1
    if full then return false end
    local reply = call_or_reset(stream, 'XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', digits(asked), 'STREAMS', stream, '>')
    local entries = reply and reply[1][2] or {}
    for _, item in ipairs(entries) do
      local act = full and give_back or take
      act(lane .. '/' .. item[1], key_in(item))
    end
    looked = looked + #entries
    if #entries < asked then return true end
  end
  return false
end

-- First each lane gets its quota, then the lanes in order get what is left. Returns whether all are drained.
local function read_lanes()
  local drained = { returned = read_lane('returned', slots - begun) }
  for turn = 1, 2 do
    for i, lane in ipairs({ 'high', 'normal', 'low' }) do
      local free = slots - begun
      local quota = turn == 1 and math.min(free, tonumber(ARGV[2 + i])) or free
      drained[lane] = drained[lane] or read_lane(lane, quota)
    end
  end
  return drained.returned and drained.high and drained.normal and drained.low
end

local paused = call_or_reset(META, 'HGET', META, 'paused')
for i = 7, #ARGV, 3 do
  local entry, key = ARGV[i] .. '/' .. ARGV[i + 1], ARGV[i + 2]
  if paused or full or begun >= slots then give_back(entry, key) else take(entry, key) end
end
local drained = not paused and read_lanes()
flush()
local next = begun > 0 and math.max(1, math.floor(BYTES * begun / size)) or 0
return { paused and 'paused' or (drained and 'drained' or 'more'), next, jobs, discarded }
