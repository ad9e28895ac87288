#!lua flags=allow-oom
-- take_turn: make a worker the queue's janitor for a while, unless another one is.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV[1] worker   ARGV[2] for how long, milliseconds
-- Returns 1 if this worker is the janitor now, else 0.

return acquire_lock('janitor', ARGV[1], ARGV[2]) and 1 or 0
