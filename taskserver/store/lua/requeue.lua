#!lua
-- requeue: a person runs ended jobs again: attempts start from zero, the history stays, and the fence rises.
-- Transition: succeeded | failed | dead | cancelled | expired -> queued
-- KEYS[1] queue prefix
-- ARGV    per job: key, the seal that its message gets in place of the one that it has, '' to leave it
-- Returns per job '' if it is queued now, else why not: 'gone' (no record, or its message is gone) or its state.

local replies = {}
local now = clock()
local ENDED = { succeeded = true, failed = true, dead = true, cancelled = true, expired = true }
for i = 1, #ARGV, 2 do
  local key, seal = ARGV[i], ARGV[i + 1]
  local position = (i + 1) / 2
  local job = read_fields(key, { 'state', 'lane', 'fence', 'attempt' })
  if not job or redis.call('EXISTS', message_key(key)) == 0 then
    replies[position] = 'gone'
  elseif not ENDED[job.state] then
    replies[position] = job.state
  else
    redis.call('HDEL', job_key(key), 'data', 'ended', 'cancel', 'progress', 'expires', 'unknown', 'question', 'answer')
    redis.call('HSET', job_key(key), 'state', 'queued', 'attempt', 0, 'fence', (tonumber(job.fence) or 0) + 1, 'history', 1,
      'entry', enqueue(key, job.lane or 'normal'))
    if seal ~= '' then redis.call('SETRANGE', message_key(key), 0, seal) end
    redis.call('PERSIST', job_key(key))
    redis.call('PERSIST', message_key(key))
    redis.call('UNLINK', outcome_key(key))
    redis.call('ZREM', DEAD, key)
    remember(key, job.attempt, '', 'requeue', '', now)
    replies[position] = ''
  end
end
return replies
