-- prelude, keys: the keys of a queue, how long they live, and the clock. Every script has what it uses of the prelude in
-- front, in this order: keys, records, entries, ends.
--
-- KEYS[1] of every script is the queue's prefix, "ts:{queue}:". All keys of a queue share its hash tag, so they
-- live in one slot of a cluster, and a script may build those that it finds out about only as it reads. In a database other
-- than 0 there is a KEYS[2], the same with "@" and the database's number: channels, which databases share, are marked with it.
-- Python's names for the same keys are in store/keys.py; a test holds the two together.

-- Looking up a global costs a tenth of a command; these are called for every job.
local call = redis.call
local try = redis.pcall
local sub = string.sub
local find = string.find
local match = string.match
local byte = string.byte
local char = string.char
local format = string.format

local QUEUE = KEYS[1]
local MARK = KEYS[2] and sub(KEYS[2], #QUEUE + 1) or ''
local DONE = QUEUE .. 'done' .. MARK .. ':'
local CONTROL = QUEUE .. 'control' .. MARK
local GROUP = 'workers'
local RECLAIMER = 'sweeper' -- the consumer that takes entries over from lost workers
local SMALL = 64 -- bytes; a longer field would push the job's hash out of its compact encoding
local DAY = 86400000
local RESULT_TTL = DAY -- of an ended job's record, in milliseconds, unless the submitter set another
local DEAD_TTL = 30 * DAY -- of a dead letter
local LIVE_TTL = 30 * DAY -- of a live job's side keys (events, history, last error), renewed by each write
local ANSWER_TTL = DAY / 12 -- of an answer that a repeated call gets again: longer than any client's patience
local HISTORY = 50 -- entries kept of a job's history
local READABLE = '4194368' -- bytes read of a message or outcome: more than it may have, so that readers notice
local LANES = { 'returned', 'high', 'normal', 'low' }
local IS_LANE = { returned = true, high = true, normal = true, low = true }
-- The states of domain/job.py, and whether a job in it has ended.
local ENDED = {
  queued = false, delayed = false, running = false, waiting = false,
  succeeded = true, failed = true, dead = true, cancelled = true, expired = true,
}

local DELAYED, DEAD, EXPIRING, META = QUEUE .. 'delayed', QUEUE .. 'dead', QUEUE .. 'expiring', QUEUE .. 'meta'

-- Calls `act` with the items of a list as its arguments, so many at a time that they fit on Lua's stack (8,000).
local AT_ONCE = 1000
local function in_parts(list, act)
  for i = 1, #list, AT_ONCE do act(unpack(list, i, math.min(i + AT_ONCE - 1, #list))) end
end

local function lane_key(lane) return QUEUE .. 'lane:' .. lane end
local function job_key(key) return QUEUE .. 'job:' .. key end
local function message_key(key) return QUEUE .. 'msg:' .. key end
local function outcome_key(key) return QUEUE .. 'out:' .. key end
local function events_key(key) return QUEUE .. 'events:' .. key end
local function history_key(key) return QUEUE .. 'history:' .. key end

-- Milliseconds since 1970 by this server's clock, the only one that transitions go by.
local function clock()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A whole number as a string. Letting the server convert a number costs as much as a command, since it writes 17 digits; and
-- those of a batch are often the same.
local formatted = {}
local function digits(n)
  local text = formatted[n]
  if not text then text = format('%d', n); formatted[n] = text end
  return text
end
