#!lua flags=no-writes
-- outcomes: how jobs stand for those who wait for them.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV    keys
-- Returns per job: state ('' if unknown), packed result or error ('' until it ended).

local replies = {}
for i, key in ipairs(ARGV) do
  local job = read_fields(key, { 'state', 'data' })
  local data = ''
  if job and ENDED[job.state] then
    data = job.data or redis.pcall('GET', outcome_key(key)) or ''
    if data.err then data = '' end -- one that somebody overwrote must not hide the others
  end
  replies[2 * i - 1], replies[2 * i] = job and job.state or '', data
end
return replies
