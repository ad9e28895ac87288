#!lua flags=allow-oom
-- check_entries: discard entries of a lane that are no job's live entry, as a worker would.
-- Transition: (none)
-- KEYS[1] queue prefix
-- ARGV[1] 'repair', or 'look' to change nothing   ARGV[2] lane   ARGV[3] id to begin after   ARGV[4] entries checked at most
-- Returns { how many were checked, the last one's id, ids of those that are discarded }.

local lane, last = ARGV[2], ARGV[3]
local entries = call('XRANGE', lane_key(lane), '(' .. last, '+', 'COUNT', ARGV[4])
local gone = {}
for _, item in ipairs(entries) do
  last = item[1]
  local entry = lane .. '/' .. last
  local job = read_fields(key_in(item), { 'state', 'entry' })
  if not (job and job.entry == entry and (job.state == 'queued' or job.state == 'running')) then
    if ARGV[1] == 'repair' then drop_entry(entry) end
    gone[#gone + 1] = last
  end
end
flush()
return { #entries, last, gone }
