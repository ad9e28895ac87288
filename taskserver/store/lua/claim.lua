#!lua flags=allow-oom
-- claim: begin attempts for up to `slots` queued jobs. Attempt and fence rise before any code of the job runs, so that a job
-- that kills its worker is counted.
-- Transition: queued -> running | dead | expired
-- KEYS[1] queue prefix
-- ARGV[1] worker   ARGV[2] slots   ARGV[3..5] quota of high, normal, low
-- ARGV[6] maximum number of attempts for a job without its own
-- ARGV[7..] entries that the worker's blocking read has returned: lane, entry id, job key ('' if it has none)
-- Returns { 'paused' or 'open', { per job: key, attempt, fence, max or '', message, entry },
--   { per discarded entry: entry, reason } }

local worker, slots, cap = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[6])
local now = clock()
local jobs, discarded = {}, {}

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

local started = digits(now)
local function run(key, attempt, fence, max, payload, entry)
  call('HSET', job_key(key), 'state', 'running', 'attempt', digits(attempt), 'fence', digits(fence), 'worker', worker,
    'started', started)
  local n = #jobs
  jobs[n + 1], jobs[n + 2], jobs[n + 3], jobs[n + 4], jobs[n + 5], jobs[n + 6] = key, attempt, fence, max, payload, entry
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
  if job.expires then call_or_reset(EXPIRING, 'ZREM', EXPIRING, key) end
  run(key, attempt + 1, next_fence(job, now), job.max or '', payload, job.entry)
end

-- Begins the first attempt of a plain job, as most are; returns whether the job was plain.
local first = next_fence({}, now)
local function begin_plain(entry, key)
  if not is_plain(job_key(key), QUEUED, 'entry', entry) then return false end
  local payload = read_string(message_key(key))
  if payload == '' then return false end
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

-- Queues a job again whose entry the worker's blocking read returned, but for which it has no slot.
local function give_back(entry, key)
  local job = read_fields(key, { 'state', 'entry' })
  local live = job and job.entry == entry
  if live and job.state == 'running' then return end -- as in `take`: it is the only way to notice a lost lease
  drop_entry(entry)
  if live and job.state == 'queued' then
    call('HSET', job_key(key), 'entry', enqueue(key, 'returned'))
  end
end

local function read_lane(lane, count)
  if count <= 0 then return 0 end
  local stream = lane_key(lane)
  local reply = call_or_reset(stream, 'XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', digits(count), 'STREAMS', stream, '>')
  local entries = reply and reply[1][2] or {}
  for _, item in ipairs(entries) do take(lane .. '/' .. item[1], key_in(item)) end
  return #entries
end

local paused = call_or_reset(META, 'HGET', META, 'paused')
local begun = 0
for i = 7, #ARGV, 3 do
  local entry, key = ARGV[i] .. '/' .. ARGV[i + 1], ARGV[i + 2]
  if paused or begun >= slots then give_back(entry, key) else take(entry, key) end
  begun = #jobs / 6
end

if not paused then
  local free = slots - begun
  free = free - read_lane('returned', free)
  local drained = {}
  for turn = 1, 2 do -- first each lane gets its quota, then the lanes in order get what is left
    for i, lane in ipairs({ 'high', 'normal', 'low' }) do
      local quota = turn == 1 and math.min(free, tonumber(ARGV[2 + i])) or free
      if not drained[lane] then
        local got = read_lane(lane, quota)
        free, drained[lane] = free - got, got < quota
      end
    end
  end
end
flush()
return { paused and 'paused' or 'open', jobs, discarded }
