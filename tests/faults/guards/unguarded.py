"""Conditions in the scripts that guard nothing: by reason, file and the line without its comment."""

from __future__ import annotations

UNGUARDED: dict[str, list[tuple[str, str]]] = {
    "it saves a call where there is nothing to do": [
        ("claim", "if job.expires then own(EXPIRING, 'ZREM', EXPIRING, key) end"),
        ("reclaim", "if reply[1] ~= cursor then redis.call('HSET', META, name, reply[1]) end"),
        ("prelude/ends", "if job.attempt then redis.call('PEXPIRE', outcome_key(key), ttl) end"),
        ("prelude/ends", "if job.said then redis.call('PEXPIRE', events_key(key), ttl) end"),
        ("prelude/ends", "if job.history then redis.call('PEXPIRE', history_key(key), ttl) end"),
        ("prelude/ends", "if job.expires then own(EXPIRING, 'ZREM', EXPIRING, key) end"),
        ("submit", "if options == '' then"),
        ("requeue", "if seal ~= '' then redis.call('SETRANGE', message_key(key), 0, seal) end"),
        ("prelude/records", "if not field then return nil end"),
        ("prelude/records", "if has(key, RUNNING) then"),
        ("prelude/entries", "if #ids > FEW then ids = trim(lane, ids) end"),
        ("claim", "if has(key, QUEUED) then"),
        ("claim", "if not drained[lane] then"),
    ],
    "it reads an option": [
        ("submit", "if options.lane then set('lane', options.lane) end"),
        ("submit", "if options.max then set('max', options.max) end"),
        ("submit", "if options.ttl then set('ttl', options.ttl) end"),
        ("submit", "local due = options.due or (options.delay and now + options.delay)"),
    ],
    "it chooses where or how something is stored": [
        ("prelude/ends", "if #data > SMALL then"),
        ("prelude/ends", "if packed ~= '' then line = '\\149' .. string.sub(line, 2) .. packed end"),
        ("prelude/entries", "if ids then ids[#ids + 1] = id else dropped[lane] = { id } end"),
        ("prelude/entries", "if not by_kind then by_kind = {}; news[channel] = by_kind end"),
        ("prelude/entries", "if words then words[#words + 1] = word else by_kind[kind] = { word } end"),
        ("prelude/entries", "local told = data ~= '' and #data < 255"),
        (
            "prelude/entries",
            "return key .. string.sub(state, 1, 1) .. string.char(told and #data or 255) .. (told and data or '')",
        ),
        ("finish", "if state ~= 'succeeded' then"),
    ],
    "it reads an answer of the server": [
        ("forget", "if is_last then last = math.max(last, tonumber(string.match(info[i + 1], '^%d+'))) end"),
    ],
    "it shares free slots among the lanes": [
        ("claim", "local quota = turn == 1 and math.min(free, tonumber(ARGV[2 + i])) or free"),
    ],
    "it chooses what is told": [
        ("claim", "return { paused and 'paused' or 'open', jobs, refused }"),
        ("reclaim", "taken[#taken + 1], taken[#taken + 2] = key, running and job.worker or ''"),
        (
            "prelude/entries",
            "if redis.call('ZRANGE', DELAYED, 0, 0)[1] == key then control('due', string.format('%d', due)) end",
        ),
    ],
}
