-- prelude, ends: outcomes, history, the end of a job, and who may write for a running one.

-- Whether no earlier attempt can have left an outcome; a deferred attempt leaves one without being counted.
local function is_first(job) return job.attempt == 1 and not job.unknown end

-- Stores a result or error: a short one in the job's hash (with the other fields to set), a longer one in a string of its
-- own. An earlier attempt's outcome in the other of the two is deleted.
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

-- Appends to the job's history, as the domain's AttemptRecord is packed; `packed` is a packed Failure or ''.
local function add_history(key, attempt, worker, event, packed, now)
  local record = { attempt or 0, now, worker or '', event }
  local line = cmsgpack.pack(record)
  if packed ~= '' then line = '\149' .. sub(line, 2) .. packed end -- an array of 5 instead of 4
  call_or_reset(history_key(key), 'RPUSH', history_key(key), line)
  call('LTRIM', history_key(key), -HISTORY, -1)
  call('PEXPIRE', history_key(key), LIVE_TTL)
end

-- Ends a job: outcome, time to live for all its keys, notification. `job` is from read_job; `data` is '' if there is no
-- outcome, and then the last attempt's error stays.
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
  notify_end(key, state, data)
end

-- Begins an ended job anew: attempts count from zero, the history stays, and the fence rises. Sets the other fields, too.
local function begin_anew(key, job, now, ...)
  call('HDEL', job_key(key), 'data', 'ended', 'cancel', 'progress', 'expires', 'unknown', 'question', 'asked', 'answer')
  call('HSET', job_key(key), 'attempt', 0, 'fence', next_fence(job, now), 'history', 1, ...)
  call('PERSIST', job_key(key))
  call('UNLINK', outcome_key(key))
  call_or_reset(DEAD, 'ZREM', DEAD, key)
  add_history(key, number(job.attempt), '', 'requeue', '', now)
end

-- Whether the job ends at its time `expires`: one that must start by then, as long as no attempt was spent, or one whose
-- question must be answered by then.
local function may_expire(job)
  local may = job.state == 'waiting' or ((job.state == 'queued' or job.state == 'delayed') and (job.attempt or 0) == 0)
  return may and job.expires
end

-- Whether a set lacks this job; a key of another type has no job.
local function is_missing(set, key)
  local score = try('ZSCORE', set, key)
  return is_wrong_type(score) or not score
end

-- Since when a job is a dead letter; nil if that is so long ago that the next dead letter takes it off the list.
local function dead_since(key, now)
  local ended = number(call('HGET', job_key(key), 'ended')) or now
  return ended > now - DEAD_TTL and ended or nil
end

-- What should wake a job, or list it as a dead letter, by its state; each returns whether that is missing.
local IS_STRANDED = {
  queued = function(_, job) return not is_deliverable(job) end,
  running = function(_, job) return not is_deliverable(job) end,
  delayed = function(key) return is_missing(DELAYED, key) end,
  dead = function(key, _, now) return dead_since(key, now) and is_missing(DEAD, key) end,
}

-- Whether nothing would wake this job any more, or list it as a dead letter.
local function is_stranded(key, job, now)
  local check = IS_STRANDED[job.state]
  return check and check(key, job, now)
end

-- Whether nothing would end this job at its time `expires`.
local function is_never_expiring(key, job)
  return may_expire(job) and is_missing(EXPIRING, key)
end

-- Why the worker may not write for this attempt: '' if it may, 'done' if this very attempt has already moved the job (the
-- first answer was lost, and the call repeated), 'stale' if the job moved on without it, 'gone' if it has no record.
local function refusal(job, fence)
  if not job then return 'gone' end
  if job.fence ~= fence then return 'stale' end
  if job.state ~= 'running' then return 'done' end
  return ''
end

-- Moves attempts of a worker. ARGV from `first` on holds, per job, key, fence and what else `move` takes: `width` values in
-- all. `shortcut`, if any, gets them first, and returns whether the job is done with. Returns per job that was refused: key,
-- reason.
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

-- Whether `owner` holds the lock `name` for `ms` from now on. A key without a time to live, or of another type, is no lock.
local function acquire_lock(name, owner, ms)
  local lock = QUEUE .. name
  if call('PTTL', lock) == -1 then call('UNLINK', lock) end
  local holder = call_or_reset(lock, 'GET', lock)
  if holder and holder ~= owner then return false end
  call('SET', lock, owner, 'PX', ms)
  return true
end

-- Runs `act` once per call, however often the call is repeated because its answer was lost: the answer is stored under the
-- call's name, or the repeated call would only hear what was left to do. It is a hash, since people may have no right to
-- SET: with it they could write messages.
local function answer_once(name, act)
  local answer_key = QUEUE .. 'answer:' .. name
  local known = call_or_reset(answer_key, 'HMGET', answer_key, 'packed')[1]
  if known then return cmsgpack.unpack(known) end
  local answer = act()
  call('HSET', answer_key, 'packed', cmsgpack.pack(answer))
  call('PEXPIRE', answer_key, ANSWER_TTL)
  return answer
end
