-- prelude, ends: outcomes, history, the end of a job, and who may write for a running one.

-- Whether no earlier attempt can have left an outcome; a deferred one does so without being counted.
local function is_first(job) return job.attempt == 1 and not job.unknown end

-- A result or error: short ones inside the job's hash (with the other fields to set), longer ones in a string of
-- their own. What an earlier attempt left in the other place goes.
local function store_outcome(key, data, first, ttl, ...)
  if #data > SMALL then
    call('SET', outcome_key(key), data, 'PX', ttl)
    call('HSET', job_key(key), ...)
    if not first then call('HDEL', job_key(key), 'data') end
  else
    call('HSET', job_key(key), 'data', data, ...)
    if not first then call('UNLINK', outcome_key(key)) end
  end
end

-- One line of history, as the domain's AttemptRecord is packed; `packed` is a packed Failure or ''.
local function remember(key, attempt, worker, event, packed, now)
  local record = { attempt or 0, now, worker or '', event }
  local line = cmsgpack.pack(record)
  if packed ~= '' then line = '\149' .. sub(line, 2) .. packed end -- an array of 5 instead of 4
  call_or_reset(history_key(key), 'RPUSH', history_key(key), line)
  call('LTRIM', history_key(key), -HISTORY, -1)
  call('PEXPIRE', history_key(key), LIVE_TTL)
end

-- The end of a job, whichever way: outcome, time to live for all its keys, news. `job` is from read_job; `data`
-- is '' where there is no outcome, and then the last attempt's error stays.
local function end_job(key, job, state, data, now)
  local record, ttl = job_key(key), job.ttl or RESULT_TTL
  if state == 'dead' then
    ttl = math.max(ttl, DEAD_TTL)
    call_or_reset(DEAD, 'ZADD', DEAD, now, key)
    call('ZREMRANGEBYSCORE', DEAD, '-inf', now - DEAD_TTL)
  end
  ttl = digits(ttl)
  if data ~= '' then
    store_outcome(key, data, is_first(job), ttl, 'state', state, 'ended', digits(now))
  else
    call('HSET', record, 'state', state, 'ended', digits(now))
    if job.attempt then call('PEXPIRE', outcome_key(key), ttl) end
  end
  call('PEXPIRE', record, ttl)
  call('PEXPIRE', message_key(key), ttl)
  if job.said then call('PEXPIRE', events_key(key), ttl) end
  if job.history then call('PEXPIRE', history_key(key), ttl) end
  if job.expires then call_or_reset(EXPIRING, 'ZREM', EXPIRING, key) end
  drop_entry(job.entry)
  tell_end(key, state, data)
end

-- Whether the job ends at its time `expires`: one that must have started by then, as long as no attempt was spent, and one
-- whose question must be answered by then.
local function may_expire(job)
  local may = job.state == 'waiting' or ((job.state == 'queued' or job.state == 'delayed') and (job.attempt or 0) == 0)
  return may and job.expires
end

-- Since when a job is a dead letter; nil if that is so long ago that the next one takes it off the list.
local function dead_since(key, now)
  local ended = number(call('HGET', job_key(key), 'ended')) or now
  return ended > now - DEAD_TTL and ended or nil
end

-- Why the worker may not write for this attempt: '' when it may, 'done' when this very attempt has already
-- moved the job (a repeated call whose first answer was lost), 'stale' when the job moved on without it.
local function refusal(job, fence)
  if not job then return 'gone' end
  if job.fence ~= fence then return 'stale' end
  if job.state ~= 'running' then return 'done' end
  return ''
end

-- What scripts by which a worker moves its attempts have in common: ARGV from `first` on holds, per job, key, fence
-- and what else `move` wants; `width` values in all. `shortcut`, if any, gets them first, and says whether that was all. Returns
-- per job that was refused: key, reason.
local function move_attempts(first, width, move, shortcut)
  local refused = {}
  for i = first, #ARGV, width do
    if not (shortcut and shortcut(unpack(ARGV, i, i + width - 1))) then
      local key = ARGV[i]
      local job = read_job(key)
      local why = refusal(job, ARGV[i + 1])
      if why == '' then
        move(key, job, unpack(ARGV, i + 2, i + width - 1))
      else
        refused[#refused + 1], refused[#refused + 2] = key, why
      end
    end
  end
  flush()
  return refused
end

-- Whether `me` holds the lock `name` for `ms` from now on. A key there without an end, or of another type, is no lock.
local function hold(name, me, ms)
  local lock = QUEUE .. name
  if call('PTTL', lock) == -1 then call('UNLINK', lock) end
  local holder = call_or_reset(lock, 'GET', lock)
  if holder and holder ~= me then return false end
  call('SET', lock, me, 'PX', ms)
  return true
end

-- What people do to many jobs is answered with what was done, and a repeated call (its first answer was lost) must hear the
-- same instead of what is left to do. So the answer is kept under the call's own name; `act` returns it. In a hash, for people
-- may have no right to SET: they could write messages by it.
local function once(name, act)
  local place = QUEUE .. 'answer:' .. name
  local known = call_or_reset(place, 'HMGET', place, 'packed')[1]
  if known then return cmsgpack.unpack(known) end
  local answer = act()
  call('HSET', place, 'packed', cmsgpack.pack(answer))
  call('PEXPIRE', place, ANSWER_TTL)
  return answer
end
