#!lua flags=no-writes
-- messages: read the messages of jobs as they are stored, to renew their signatures.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV    keys
-- Returns per job its message, '' if there is none.

local messages = {}
for i, key in ipairs(ARGV) do messages[i] = read_string(message_key(key)) end
return messages
