#!lua flags=allow-oom
-- report: append progress and partial output of running attempts to their jobs' events.
-- Transition: running -> running
-- KEYS[1] queue prefix
-- ARGV[1] events kept per job
-- ARGV[2..] per report: key, fence, attempt, its number within the attempt, packed report, packed progress or ''
-- Returns the keys of the jobs that moved on. A repeated call (its first answer was lost) adds nothing twice: `said`
-- is the fence and number of the last report that was taken, `events` how many of the job's were.

local now = digits(clock())

-- The second half of an event's id: the event's number among all of the job's, and the last three letters of the job's key. By
-- these, readers notice what was trimmed, and cursors of other jobs (domain/events.py).
local function sequence(key, total)
  local a, b, c = byte(key, -3, -1)
  return format('-%.0f', total * 16777216 + a * 65536 + b * 256 + c)
end

local function add_event(key, total, attempt, report)
  local events, tail = events_key(key), sequence(key, total)
  local added = try('XADD', events, 'MAXLEN', '~', ARGV[1], now .. tail, 'attempt', attempt, 'report', report)
  if type(added) == 'table' then -- the server's clock has gone back, or somebody has written there
    local time = match(try('XINFO', 'STREAM', events)[8] or '', '^%d+') or now
    call_or_reset(events, 'XADD', events, 'MAXLEN', '~', ARGV[1], time .. tail, 'attempt', attempt, 'report', report)
  end
end

local stale = {}
for i = 2, #ARGV, 6 do
  local key, fence, attempt, number_said, report, progress = unpack(ARGV, i, i + 5)
  local job = read_fields(key, { 'state', 'fence', 'said', 'events' })
  local said_fence, said_number = match(job and job.said or '', '^(%d+) (%d+)$')
  if refusal(job, fence) ~= '' then
    stale[#stale + 1] = key
  elseif said_fence ~= fence or tonumber(number_said) > tonumber(said_number) then
    local total = math.floor(number(job.events) or 0) % 536870912 + 1 -- 29 bits, whatever somebody has written there
    add_event(key, total, attempt, report)
    call('PEXPIRE', events_key(key), LIVE_TTL)
    call('HSET', job_key(key), 'said', fence .. ' ' .. number_said, 'events', total)
    if progress ~= '' then call('HSET', job_key(key), 'progress', progress) end
    notify_events(key)
  end
end
flush()
return stale
