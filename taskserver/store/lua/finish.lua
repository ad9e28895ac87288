#!lua flags=allow-oom
-- finish: end attempts and their jobs. May be repeated if the answer was lost.
-- Transition: running -> succeeded | failed | dead | cancelled
-- KEYS[1] queue prefix
-- ARGV    per job: key, fence, attempts spent, state, packed result or error, the entry that it was claimed by, and what is
--         kept of its message if it succeeded; '' keeps it all
-- Returns per job that was refused: key, reason ('done', 'stale' or 'gone').

local now = clock()
local ended, ttl = digits(now), digits(RESULT_TTL)
local spent = {}

-- Ends a plain job, as most are, that succeeded with a short result, in as few commands as possible; returns whether it was
-- plain.
local function end_plain(key, fence, data, entry, kept)
  local record = job_key(key)
  if not is_plain(record, RUNNING, 'fence', fence) then return false end
  if kept == '' then
    call('HSET', record, 'state', 'succeeded', 'ended', ended, 'data', data)
    call('PEXPIRE', message_key(key), ttl)
  else
    call('HSET', record, 'state', 'succeeded', 'ended', ended, 'data', data, 'kept', kept)
    spent[#spent + 1] = message_key(key)
  end
  call('PEXPIRE', record, ttl)
  drop_entry(entry)
  notify_end(key, 'succeeded', data)
  return true
end

local function finish(key, job, attempt, state, data, _, kept)
  if job.attempt ~= tonumber(attempt) then call('HSET', job_key(key), 'attempt', attempt) end
  if state ~= 'succeeded' then
    add_history(key, job.attempt, job.worker, state, data, now)
    job.history = true
  elseif kept ~= '' then
    call('HSET', job_key(key), 'kept', kept)
    spent[#spent + 1] = message_key(key)
  end
  end_job(key, job, state, data, now)
end

local refused = move_attempts(1, 7, finish, function(key, fence, _, state, data, entry, kept)
  return state == 'succeeded' and #data <= SMALL and end_plain(key, fence, data, entry, kept)
end)
in_parts(spent, function(...) call('UNLINK', ...) end)
return refused
