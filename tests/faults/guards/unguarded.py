"""Conditions in the scripts that guard nothing: by reason, file and the line without its comment."""

from __future__ import annotations

UNGUARDED: dict[str, list[tuple[str, str]]] = {
    "it saves a call where there is nothing to do": [
        ("claim", "if job.expires then call_or_reset(EXPIRING, 'ZREM', EXPIRING, key) end"),
        ("reclaim", "if known ~= nil then return known end"),
        ("reclaim", "if info[4] > 0 then"),
        ("reclaim", "if count == 0 then break end"),
        ("prelude/ends", "if job.attempt then call('PEXPIRE', outcome_key(key), ttl) end"),
        ("prelude/ends", "if job.said then call('PEXPIRE', events_key(key), ttl) end"),
        ("prelude/ends", "if job.history then call('PEXPIRE', history_key(key), ttl) end"),
        ("prelude/ends", "if job.expires then call_or_reset(EXPIRING, 'ZREM', EXPIRING, key) end"),
        ("submit", "if options == '' then"),
        ("requeue", "if seal ~= '' then call('SETRANGE', message_key(key), 0, seal) end"),
        ("prelude/records", "if not field then return nil end"),
        ("prelude/keys", "if not text then text = format('%d', n); formatted[n] = text end"),
        ("prelude/entries", "if #ids > FEW then ids = trim(lane, ids) end"),
        ("claim", "if begin_plain(entry, key) then return end"),
        ("claim", "if not is_plain(job_key(key), QUEUED, 'entry', entry) then return false end"),
        ("finish", "if not is_plain(record, RUNNING, 'fence', fence) then return false end"),
        ("prelude/entries", "if #parts > 0 then call('PUBLISH', DONE .. route, kind .. table.concat(parts)) end"),
    ],
    "it bounds what one call reads or answers": [
        ("claim", "full = full or (begun > 0 and size + #payload > BYTES)"),
        ("claim", "if begun == 0 then return slots end"),
        ("claim", "if not fits(payload) then return give_back(job.entry, key) end"),
        ("claim", "if full then return false end"),
        ("claim", "local act = full and give_back or take"),
        ("recall", "return #pending == tonumber(count) and pending[#pending][1]"),
        ("submit", "if not written then"),
    ],
    "it reads an option": [
        ("prelude/entries", "local route = byte(key) == 107 and sub(key, 1, 3) or sub(key, 11, 16)"),
        ("prelude/keys", "local MARK = KEYS[2] and sub(KEYS[2], #QUEUE + 1) or ''"),
        ("submit", "if options.lane then set('lane', options.lane) end"),
        ("submit", "local again = options ~= '' and cmsgpack.unpack(options)"),
        ("submit", "if options.call then set('digest', options.digest); set('call', options.call) end"),
        ("submit", "if options.max then set('max', options.max) end"),
        ("submit", "if options.ttl then set('ttl', options.ttl) end"),
        ("submit", "if options.about then set('about', options.about) end"),
        ("reclaim", "local hold_ms = patience and math.max(1, math.floor(lease_ms * 2 / 3)) or 1"),
        ("submit", "local due = options.due or (options.delay and now + options.delay)"),
    ],
    "it chooses where or how something is stored": [
        (
            "submit",
            "refused[#refused + 1], refused[#refused + 2] = (i - 1) / 3, type(why) == 'table' and why.err or why",
        ),
        ("prelude/ends", "if #data > SMALL then"),
        ("prelude/ends", "if packed ~= '' then line = '\\149' .. sub(line, 2) .. packed end"),
        ("prelude/entries", "if ids then ids[#ids + 1] = id else dropped[lane] = { id } end"),
        ("prelude/entries", "if not parts then parts = { d = {}, e = {} }; notifications[route] = parts end"),
        ("prelude/entries", "local inline = size > 0 and size < 255"),
        ("prelude/entries", "parts[n + 3], parts[n + 4] = char(inline and size or 255), inline and data or ''"),
        ("finish", "if state ~= 'succeeded' then"),
    ],
    "it chooses what is read": [
        ("statuses", "local history = all and try('LRANGE', history_key(key), -HISTORY, -1) or {}"),
        ("statuses", "add(state and values or {})"),
        ("statuses", "add(state and state ~= 'succeeded' and not data and read_string(outcome_key(key)) or '')"),
        ("statuses", "add(state and history_of(key) or {})"),
    ],
    "it reads an answer of the server": [
        ("forget", "if is_last then last = math.max(last, tonumber(match(info[i + 1], '^%d+'))) end"),
    ],
    "it shares free slots among the lanes": [
        ("claim", "local quota = turn == 1 and math.min(free, tonumber(ARGV[2 + i])) or free"),
    ],
    "it chooses what is reported": [
        (
            "submit",
            "existing[n + 1], existing[n + 2], existing[n + 3] = position, job.state, conflicts and 1 or 0",
        ),
        ("claim", "if #entries < asked then return true end"),
        ("claim", "return drained.returned and drained.high and drained.normal and drained.low"),
        ("claim", "local next = begun > 0 and math.max(1, math.floor(BYTES * begun / size)) or 0"),
        ("claim", "return { paused and 'paused' or (drained and 'drained' or 'more'), next, jobs, discarded }"),
        ("reclaim", "taken[#taken + 1], taken[#taken + 2] = key, running and job.worker or ''"),
        (
            "prelude/entries",
            "if call('ZRANGE', DELAYED, 0, 0)[1] == key then publish_control('due', format('%d', due)) end",
        ),
    ],
}
