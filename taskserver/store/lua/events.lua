#!lua flags=no-writes
-- events: read a page of a job's events.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV[1] key   ARGV[2] id of the event to begin after   ARGV[3] events at most
-- Returns per event its id and fields, oldest first; fewer where they are large, and none only if there are no more.

local LARGE = 1024 * 1024 -- bytes of fields, after which no more events are read
local STEP = 20 -- events read at a time; each has 64 KiB of text at most
local name, last, count = events_key(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local size = 0
local events = {}

local function read_more()
  local found = try('XRANGE', name, '(' .. last, '+', 'COUNT', digits(math.min(STEP, count - #events)))
  if is_wrong_type(found) then return false end
  for _, event in ipairs(found) do
    events[#events + 1], last = event, event[1]
    for _, field in ipairs(event[2]) do size = size + #field end
  end
  return #found == STEP
end

while read_more() and size < LARGE and #events < count do end
return events
