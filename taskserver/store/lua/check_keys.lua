#!lua flags=allow-oom
-- check_keys: compare the queue's keys with store/keys.py. A key of the wrong type is set aside (renamed, kept for 30 days), a
-- missing time to live is set, and that of a live job's record removed. Nothing is deleted: somebody may still want it. (The
-- scripts that move jobs cannot wait for this: they delete a key of the wrong type that is in their way, see call_or_reset.)
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV[1] 'repair', or 'look' to change nothing
-- ARGV[2..] names of keys, without the prefix
-- Returns per damaged key: its name, the damage ('type', 'endless', 'ending', 'orphan', 'foreign').

local repair = ARGV[1] == 'repair'
local now = clock()
local MINUTE = 60000
local TYPES = {
  job = 'hash', msg = 'string', out = 'string', events = 'stream', history = 'list', worker = 'string', lane = 'stream',
  delayed = 'zset', expiring = 'zset', dead = 'zset', meta = 'hash', sweeper = 'string', janitor = 'string', answer = 'hash',
}

-- Renames a key that no script can use; its new name begins with its kind, so that no scan for jobs finds it.
local function set_aside(name)
  if repair then
    local aside = QUEUE .. 'broken:' .. name .. ':' .. format('%d', now)
    call('RENAME', QUEUE .. name, aside)
    call('PEXPIRE', aside, DEAD_TTL)
  end
  return 'type'
end

local function ensure_ttl(name, ttl, damage)
  if call('PTTL', QUEUE .. name) ~= -1 then return nil end
  if repair then call('PEXPIRE', QUEUE .. name, ttl) end
  return damage or 'endless'
end

local function ensure_no_ttl(name)
  if call('PTTL', QUEUE .. name) < 0 then return nil end
  if repair then call('PERSIST', QUEUE .. name) end
  return 'ending'
end

local function result_ttl(job)
  local ttl = number(job.ttl) or RESULT_TTL
  return job.state == 'dead' and math.max(ttl, DEAD_TTL) or ttl
end

local function check_record(name, key)
  local job = read_fields(key, { 'state', 'ttl' })
  if not job then return set_aside(name) end
  if ENDED[job.state] then return ensure_ttl(name, result_ttl(job)) end
  return ensure_no_ttl(name)
end

local function check_side_key(name, key)
  local job = read_fields(key, { 'state', 'ttl' })
  if not job then -- or one that cannot be read: that comes first
    return call('EXISTS', job_key(key)) == 0 and ensure_ttl(name, DAY, 'orphan') or nil
  end
  if ENDED[job.state] then return ensure_ttl(name, result_ttl(job)) end
  if sub(name, 1, 4) == 'msg:' then return ensure_no_ttl(name) end
  return ensure_ttl(name, LIVE_TTL)
end

-- If the worker lives or the lock is in use, the next heartbeat or turn sets the time to live again.
local function check_renewed(name) return ensure_ttl(name, MINUTE) end

local RULES = {
  job = check_record, msg = check_side_key, out = check_side_key, events = check_side_key, history = check_side_key,
  worker = check_renewed, sweeper = check_renewed, janitor = check_renewed, answer = check_renewed,
}

local function check(name)
  local kind, key = match(name, '^(%l+):?(.*)$')
  if kind == 'broken' then return ensure_ttl(name, DEAD_TTL) end
  if not TYPES[kind] or (kind == 'lane' and not IS_LANE[key]) then
    return call('PTTL', QUEUE .. name) == -1 and 'foreign' or nil
  end
  local type = call('TYPE', QUEUE .. name).ok
  if type == 'none' then return nil end
  if type ~= TYPES[kind] then return set_aside(name) end
  return RULES[kind] and RULES[kind](name, key)
end

local found = {}
for i = 2, #ARGV do
  local damage = check(ARGV[i])
  if damage then found[#found + 1], found[#found + 2] = ARGV[i], damage end
end
return found
