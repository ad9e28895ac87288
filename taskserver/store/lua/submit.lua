#!lua
-- submit: write new jobs, each with its message; a job that is already known stays as it is.
-- Transition: (new) -> queued | delayed
-- KEYS[1] queue prefix
-- ARGV    per job: key, packed message, options ('' or a MessagePack map of lane, max, ttl, delay, due, expires, about)
-- Returns two lists: the 0-based positions of those that were known before; position and error of those that could not be
-- written, of which nothing is left. One job's error does not take along the others.
-- Declares no allow-oom: out of memory, the server refuses it before anything is written.

local known, refused = {}, {}
local now

local function add(key, options)
  now = now or clock()
  local fields = { 'state', 'queued' }
  local function set(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
  if options.lane then set('lane', options.lane) end
  if options.max then set('max', options.max) end
  if options.ttl then set('ttl', options.ttl) end
  if options.about then set('about', options.about) end
  if options.expires then
    set('expires', now + options.expires)
    call_or_reset(EXPIRING, 'ZADD', EXPIRING, now + options.expires, key)
  end
  local due = options.due or (options.delay and now + options.delay)
  if due and due > now then
    fields[2] = 'delayed'
    set('due', due)
    delay(key, due)
  else
    set('entry', enqueue(key, options.lane))
  end
  call('HSET', job_key(key), unpack(fields))
end

local function write(i)
  local key, payload, options = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local record = job_key(key)
  if call_or_reset(record, 'HEXISTS', record, 'state') == 1 then
    known[#known + 1] = (i - 1) / 3
    return
  end
  call('SET', message_key(key), payload)
  if options == '' then
    call('HSET', record, 'state', 'queued', 'entry', enqueue(key, 'normal'))
  else
    add(key, cmsgpack.unpack(options))
  end
end

for i = 1, #ARGV, 3 do
  local written, why = pcall(write, i)
  if not written then
    try('UNLINK', message_key(ARGV[i]))
    refused[#refused + 1], refused[#refused + 2] = (i - 1) / 3, type(why) == 'table' and why.err or why
  end
end
return { known, refused }
