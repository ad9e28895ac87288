#!lua flags=allow-oom
-- delete_dead: delete dead letters and everything that belongs to them, unless they have been requeued meanwhile.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV[1] the call's name, the same when it is repeated   ARGV[2..] keys
-- Returns how many were deleted.

return answer_once(ARGV[1], function()
  local deleted = 0
  for i = 2, #ARGV do
    local key = ARGV[i]
    local job = read_fields(key, { 'state' })
    if not job then
      call_or_reset(DEAD, 'ZREM', DEAD, key)
    elseif job.state == 'dead' then
      call('UNLINK', job_key(key), message_key(key), outcome_key(key), events_key(key), history_key(key))
      call_or_reset(DEAD, 'ZREM', DEAD, key)
      deleted = deleted + 1
    end
  end
  return deleted
end)
