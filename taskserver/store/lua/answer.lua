#!lua flags=allow-oom
-- answer: answer the question of a waiting job and queue it; the first answer counts.
-- Transition: waiting -> queued
-- KEYS[1] queue prefix
-- ARGV    per job: key, packed answer
-- Returns per job that was refused: key, the state it is in ('' if it is unknown).

local refused = {}
for i = 1, #ARGV, 2 do
  local key, answer = ARGV[i], ARGV[i + 1]
  local job = read_fields(key, { 'state' })
  if job and job.state == 'waiting' then
    call_or_reset(EXPIRING, 'ZREM', EXPIRING, key)
    call('HDEL', job_key(key), 'expires')
    call('HSET', job_key(key), 'state', 'queued', 'answer', answer, 'entry', enqueue(key, 'returned'))
  else
    refused[#refused + 1], refused[#refused + 2] = key, job and job.state or ''
  end
end
return refused
