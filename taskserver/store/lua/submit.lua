#!lua
-- submit: write new jobs, each with its message; a job that is already known stays as it is, or runs again if it has ended.
-- Transition: (new) | succeeded | failed | dead | cancelled | expired -> queued | delayed
-- KEYS[1] queue prefix
-- ARGV    per job: key, packed message, options ('' or a MessagePack map of lane, max, ttl, delay, due, expires, about;
--         and with an idempotency key digest, call, rerun)
-- Returns three lists: the 0-based positions of those that were known before; position and error of those that could not be
-- written, of which nothing is left; position, state and 1 for another message of those with an idempotency key that another
-- call has submitted before. One job's error does not take along the others.
-- Declares no allow-oom: out of memory, the server refuses it before anything is written.

local known, refused, existing = {}, {}, {}
local now

local function add(key, options)
  now = now or clock()
  local fields = { 'state', 'queued' }
  local function set(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
  if options.lane then set('lane', options.lane) end
  if options.max then set('max', options.max) end
  if options.ttl then set('ttl', options.ttl) end
  if options.about then set('about', options.about) end
  if options.call then set('digest', options.digest); set('call', options.call) end
  if options.expires then
    set('expires', now + options.expires)
    expire_at(key, now + options.expires)
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

-- A job with an idempotency key that exists. With the same `call`, this very submit has made it, and its answer was lost.
local function submit_again(position, key, payload, options)
  local job = read_fields(key, { 'state', 'call', 'digest', 'fence', 'attempt' })
  if not job or job.call == options.call then return end
  local conflicts = job.digest and job.digest ~= options.digest
  local n = #existing
  existing[n + 1], existing[n + 2], existing[n + 3] = position, job.state, conflicts and 1 or 0
  if conflicts or not options.rerun or not ENDED[job.state] then return end
  now = now or clock()
  call('HDEL', job_key(key), 'lane', 'max', 'ttl', 'due', 'kept', 'about', 'moved')
  begin_anew(key, job, now)
  call('SET', message_key(key), payload)
  add(key, options)
end

local function write(i)
  local key, payload, options = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local record = job_key(key)
  if call_or_reset(record, 'HEXISTS', record, 'state') == 1 then
    known[#known + 1] = (i - 1) / 3
    local again = options ~= '' and cmsgpack.unpack(options)
    if again and again.call then submit_again((i - 1) / 3, key, payload, again) end
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
  local before = #known
  local written, why = pcall(write, i)
  if not written then
    if #known == before then try('UNLINK', message_key(ARGV[i])) end
    refused[#refused + 1], refused[#refused + 2] = (i - 1) / 3, type(why) == 'table' and why.err or why
  end
end
return { known, refused, existing }
