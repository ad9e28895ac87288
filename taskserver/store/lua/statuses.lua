#!lua flags=no-writes
-- statuses: read what is known about jobs, for people and programs that look at them.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV[1] 'all', or 'brief' for no history, and no message where the record has a summary of it
-- ARGV[2] number of fields   ARGV[3..] fields of a record, beginning with state, data, kept and about; then keys
-- Returns per job: its fields (none if it is unknown), message, packed error, history; for fewer jobs than asked when they are
-- large: at least for the first.

local LARGE = 4 * 1024 * 1024 -- bytes; an answer is about twice that at most, since no message is larger
local all, last_field = ARGV[1] == 'all', 2 + ARGV[2]
local size = 0
local replies = {}

local function add(reply)
  replies[#replies + 1] = reply
  size = size + #reply
end

local function history_of(key)
  local history = all and try('LRANGE', history_key(key), -HISTORY, -1) or {}
  if is_wrong_type(history) then return {} end
  for _, line in ipairs(history) do size = size + #line end
  return history
end

for i = last_field + 1, #ARGV do
  local key = ARGV[i]
  local values = try('HMGET', job_key(key), unpack(ARGV, 3, last_field))
  is_wrong_type(values) -- such an answer has no fields; any other error is raised
  local state, data, kept, about = values[1], values[2], values[3], values[4]
  add(state and values or {})
  add(state and not kept and (all or not about) and read_string(message_key(key)) or '')
  add(state and state ~= 'succeeded' and not data and read_string(outcome_key(key)) or '')
  add(state and history_of(key) or {})
  if size > LARGE then break end
end
return replies
