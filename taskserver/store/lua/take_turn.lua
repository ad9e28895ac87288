#!lua flags=allow-oom
-- take_turn: one worker at a time is the queue's janitor, and stays it for a while; the others need not walk.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV[1] worker   ARGV[2] for how long, milliseconds
-- Returns 1 if it is this worker, else 0.

return acquire_lock('janitor', ARGV[1], ARGV[2]) and 1 or 0
