#!lua flags=allow-oom
-- recall: give back jobs that a worker holds without knowing, since the answer to its claim was lost. No attempt is spent,
-- since none of their code has run.
-- Transition: running -> queued | cancelled; queued -> queued
-- KEYS[1] queue prefix
-- ARGV[1] worker   ARGV[2] maximum number of entries per lane   ARGV[3] number of the lane to begin with
-- ARGV[4] the first entry to look at there, as XPENDING takes it   ARGV[5..] keys of the jobs that it knows it runs
-- Returns { number of the lane where the next call begins, or 0 after the last one, its first entry there, the keys of the jobs
--   that were given back }.

local worker, count, first, from = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local now = clock()
local known, returned = {}, {}
for i = 5, #ARGV do known[ARGV[i]] = true end

local function give_back(entry, key)
  local job = read_job(key)
  if not job or job.entry ~= entry then return drop_entry(entry) end
  if job.state == 'running' then
    if job.worker ~= worker then return end -- another worker's, whose heartbeat takes the entry back
    call('HSET', job_key(key), 'fence', next_fence(job, now), 'attempt', unspent(job))
    if job.cancel then return end_job(key, job, 'cancelled', '', now) end
  elseif job.state ~= 'queued' then
    return drop_entry(entry)
  end
  drop_entry(entry)
  call('HSET', job_key(key), 'state', 'queued', 'entry', enqueue(key, 'returned'))
  returned[#returned + 1] = key
end

-- Looks at the next entries of a lane that the worker has pending; returns the last one's id, if there may be more.
local function look(lane, start)
  local stream = lane_key(lane)
  local pending = call_or_reset(stream, 'XPENDING', stream, GROUP, start, '+', count, worker)
  for _, entry in ipairs(pending) do
    local item = call('XRANGE', stream, entry[1], entry[1])[1]
    local key = item and key_in(item) or '' -- the entry may be deleted while it is pending
    if not known[key] then give_back(lane .. '/' .. entry[1], key) end
  end
  return #pending == tonumber(count) and pending[#pending][1]
end

local number, last = first, look(LANES[first], from)
while not last and number < #LANES do
  number = number + 1
  last = look(LANES[number], '-')
end
flush()
return { last and number or 0, last and '(' .. last or '', returned }
