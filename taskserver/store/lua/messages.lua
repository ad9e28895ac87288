#!lua flags=no-writes
-- messages: read the messages of jobs as they are stored, to renew their signatures.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV    keys
-- Returns per job its message, '' if there is none; for fewer jobs than asked when their messages are large: at least for the
-- first.

local LARGE = 4 * 1024 * 1024 -- bytes; an answer is twice that at most, since no message is larger
local size = 0
local messages = {}
for i, key in ipairs(ARGV) do
  messages[i] = read_string(message_key(key))
  size = size + #messages[i]
  if size > LARGE then break end
end
return messages
