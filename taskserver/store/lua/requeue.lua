#!lua
-- requeue: queue ended jobs again: attempts start from zero, the history stays, and the fence rises.
-- Transition: succeeded | failed | dead | cancelled | expired -> queued
-- KEYS[1] queue prefix
-- ARGV[1] the call's name, the same when it is repeated
-- ARGV[2..] per job: key, the seal that its message gets in place of the one that it has, '' to leave it
-- Returns per job '' if it is queued now, else why not: 'gone' (no record, or its message is gone), 'spent' (it succeeded, and
-- its message was not kept) or its state.

local now = clock()

local function requeue(key, seal)
  local job = read_fields(key, { 'state', 'lane', 'fence', 'attempt', 'kept' })
  if job and job.kept then return 'spent' end
  if not job or call('EXISTS', message_key(key)) == 0 then return 'gone' end
  if not ENDED[job.state] then return job.state end
  begin_anew(key, job, now, 'state', 'queued', 'entry', enqueue(key, job.lane))
  if seal ~= '' then call('SETRANGE', message_key(key), 0, seal) end
  call('PERSIST', message_key(key))
  return ''
end

return answer_once(ARGV[1], function()
  local replies = {}
  for i = 2, #ARGV, 2 do replies[i / 2] = requeue(ARGV[i], ARGV[i + 1]) end
  return replies
end)
