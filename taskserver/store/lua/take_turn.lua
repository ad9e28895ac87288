#!lua flags=allow-oom
-- take_turn: make a worker the queue's janitor for a while, unless another one is.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV[1] worker   ARGV[2] for how long, milliseconds   ARGV[3] 'begin' an audit, or 'continue' it
-- Returns 0 if another worker is the janitor, 1 if this one is now, 2 if it is, and is to audit the queue fast: groups were
-- created anew, and streams may be gone. The first that begins an audit then takes over from the one that is at it: that one
-- may have passed what was lost.

if ARGV[3] == 'begin' and call_or_reset(META, 'HDEL', META, 'rebuilt') == 1 then
  call('UNLINK', QUEUE .. 'janitor')
  acquire_lock('janitor', ARGV[1], ARGV[2])
  return 2
end
return acquire_lock('janitor', ARGV[1], ARGV[2]) and 1 or 0
