#!lua flags=allow-oom
-- report: append progress and partial output of running attempts to their jobs' events.
-- Transition: running -> running
-- KEYS[1] queue prefix
-- ARGV[1] events kept per job
-- ARGV[2..] per report: key, fence, attempt, its number within the attempt, packed report, packed progress or ''
-- Returns the keys of the jobs that moved on. A repeated call (its first answer was lost) adds nothing twice: `said`
-- is the fence and number of the last report that was taken.

local stale = {}
for i = 2, #ARGV, 6 do
  local key, fence, attempt, number, report, progress = unpack(ARGV, i, i + 5)
  local job = read_fields(key, { 'state', 'fence', 'said' })
  local said_fence, said_number = match(job and job.said or '', '^(%d+) (%d+)$')
  if refusal(job, fence) ~= '' then
    stale[#stale + 1] = key
  elseif said_fence ~= fence or tonumber(number) > tonumber(said_number) then
    call_or_reset(events_key(key), 'XADD', events_key(key), 'MAXLEN', '~', ARGV[1], '*', 'attempt', attempt, 'report', report)
    call('PEXPIRE', events_key(key), LIVE_TTL)
    call('HSET', job_key(key), 'said', fence .. ' ' .. number)
    if progress ~= '' then call('HSET', job_key(key), 'progress', progress) end
    notify_events(key)
  end
end
flush()
return stale
