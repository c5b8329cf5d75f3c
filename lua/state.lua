--- state.lua - `require "state"`: what workers on many machines remember together.
--
-- The module table is itself a client that connects at its first call (see state.connect for others):
--
--     local state = require "state"
--     state.set("last_version", "v1.2.3")
--     local n = state.increment("workers_completed")
--
-- Conventions
--  * A caller's mistake raises "bad argument #n to 'name' (...)", before anything is sent.
--  * The world's failures return the call's sentinel (nil, false, -1 or 0: each call says which), a message and a code:
--      unavailable  no node would take it within the deadline: nothing was done
--      unknown      a write was sent, and its session was lost, or no node could tell what became of it until the deadline:
--                   it may or may not have been done
--      timeout      others kept changing the key, or holding the lock, until the deadline: nothing was done
--      denied       user or password missing or wrong
--      wrong_type   the stored value is no number, no list, or nothing this client can read
--      too_large    key, value or request is larger than the cluster takes
--      refused      a precondition did not hold; a lock is not free; an increment would overflow
--      lost         the lock, or the session that held it, is gone
--      session_expired  the session ended while a call waited
--      protocol     a node answered what this client does not understand
--    A missing key is no failure: get, get_with_version and set_ttl answer it with a message and no code.
--  * Durations are seconds, fractions allowed, kept as milliseconds.
--  * Keys are non-empty strings of up to 64 KiB; a number is turned into a string as Lua's `..` does.
--  * Values keep their Lua type: string, integer, float, boolean, table (as JSON; string keys or a sequence, not both).
--    A JSON null that another client stored inside a table reads as state.null.
--  * Read-change-write calls (changed, atomic_update, list_push, list_pop) write only if nobody else wrote in between,
--    try again until the deadline otherwise, and keep the key's TTL.
--
--  * Writes go through a session under serial numbers, so one that is sent again after a lost connection is still done
--    once and answers its first answer. The session opens at the first write and is kept alive by a thread of the C core.
--
-- Transactions, waiting and watching are not part of this version; their names are absent.

local core = require "state.core"

local error, getenv, ipairs, next, pairs, pcall = error, os.getenv, ipairs, next, pairs, pcall
local select, setmetatable, tonumber, tostring, type = select, setmetatable, tonumber, tostring, type
local concat, insert, move, pack = table.concat, table.insert, table.move, table.pack
local remove, sort, unpack = table.remove, table.sort, table.unpack
local format, gmatch, gsub, sub = string.format, string.gmatch, string.gsub, string.sub
local floor, huge, math_type, mininteger = math.floor, math.huge, math.type, math.mininteger

local KEY_BYTES_MAX = 64 * 1024
local KEYS_PER_PIECE = 512 -- What list, get_all and clear name in one request.
local BYTES_PER_PIECE = 32 * 1024 * 1024 -- What list and get_all ask for in one: nodes and client stop at 64 MiB.
local TIMEOUT_DEFAULT = 5 -- Seconds for one call, retries included.
local TIMEOUT_MAX = 24 * 3600
local SESSION_TTL_DEFAULT, SESSION_TTL_MIN, SESSION_TTL_MAX = 10, 0.1, 24 * 3600 -- Seconds without a sign of life.
local TTL_MAX = 100 * 365 * 86400
local PAUSE_FIRST_MS, PAUSE_MAX_MS = 2, 128 -- Upper bounds of the random pauses between two tries.

---- What callers pass ------------------------------------------------------------------------------------------------

-- Every check below runs directly in a public call, so that level 3 is the line which made the mistake.
local function bad_argument(n, name, why, level)
  error(format("bad argument #%d to '%s' (%s)", n, name, why), (level or 3) + 1)
end

local function expected(what, value)
  return format("%s expected, got %s", what, value == nil and "nil" or type(value))
end

-- The key as the cluster knows it.
local function check_key(conn, name, key, n)
  if type(key) == "number" then
    key = key .. ""
  elseif type(key) ~= "string" then
    bad_argument(n or 1, name, expected("key (string or number)", key))
  end
  if key == "" then
    bad_argument(n or 1, name, "the key is empty")
  elseif #conn.prefix + #key > KEY_BYTES_MAX then
    bad_argument(n or 1, name, "the key is longer than 64 KiB")
  end
  return conn.prefix .. key
end

-- -> bytes, type
local function check_value(name, value, n)
  local bytes, kind = core.encode(value)
  if not bytes then
    bad_argument(n, name, kind)
  end
  return bytes, kind
end

local function check_string(name, value, n)
  if type(value) == "number" then
    return value .. ""
  elseif type(value) ~= "string" then
    bad_argument(n, name, expected("string", value))
  end
  return value
end

-- Seconds -> milliseconds as text; or nil and the reason.
local function milliseconds(seconds)
  if type(seconds) ~= "number" then
    return nil, expected("seconds (number)", seconds)
  elseif seconds <= 0 or seconds ~= seconds then
    return nil, "more than 0 seconds expected"
  elseif seconds > TTL_MAX then
    return nil, "more than 100 years"
  end
  local ms = floor(seconds * 1000 + 0.5)
  return format("%d", ms < 1 and 1 or ms)
end

local function check_ttl(name, seconds, n)
  local ms, why = milliseconds(seconds)
  if not ms then
    bad_argument(n, name, why)
  end
  return ms
end

-- Only these fields may be in an options table: a misspelt one must not be ignored.
local function check_fields(name, options, n, known, level)
  for field in next, options do
    if not known[field] then
      bad_argument(n, name, format("unknown option '%s'", tostring(field)), (level or 3) + 1)
    end
  end
end

local SET_OPTIONS = { ttl = true, if_absent = true, if_present = true, if_version = true }

-- The words of VSET that make a write conditional.
local function set_condition(options)
  if options.if_absent and options.if_present or options.if_version and (options.if_absent or options.if_present) then
    return nil, "if_absent, if_present and if_version exclude each other"
  elseif options.if_absent then
    return { "NX" }
  elseif options.if_present then
    return { "XX" }
  elseif options.if_version == nil then
    return {}
  elseif math_type(options.if_version) ~= "integer" or options.if_version < 0 then
    return nil, "if_version: a version (integer) expected"
  end
  return { "IFVER", format("%d", options.if_version) }
end

-- The third argument of set -> the words of VSET that follow the type.
local function check_set_options(name, options, n)
  if options == nil then
    return {}
  elseif type(options) == "number" then
    options = { ttl = options }
  elseif type(options) ~= "table" then
    bad_argument(n, name, expected("ttl (number) or options (table)", options))
  end
  check_fields(name, options, n, SET_OPTIONS)
  local words, why = set_condition(options)
  if words and options.ttl ~= nil then
    words[#words + 1] = "PX"
    words[#words + 1], why = milliseconds(options.ttl)
  end
  if why then
    bad_argument(n, name, why)
  end
  return words
end

local function check_delta(name, delta, n)
  if delta == nil then
    return 1
  end
  local number = type(delta) == "string" and tonumber(delta) or delta
  if type(number) ~= "number" then
    bad_argument(n, name, expected("number", delta))
  elseif number ~= number or number == huge or number == -huge then
    bad_argument(n, name, "a finite number expected")
  end
  return number
end

local function check_glob(name, glob, n)
  if glob == nil then
    return "*"
  end
  return check_string(name, glob, n)
end

---- The connection under a client ------------------------------------------------------------------------------------

-- A conn: `options` for core.open, `prefix` before every key, `handle` once open; `closed` for good, if ever.
local function conn_open(conn)
  if conn.closed then
    error("the client is closed", 4) -- In the line of the public call.
  elseif conn.refusal then
    return false, conn.refusal, "unavailable"
  end
  local handle, message = core.open(conn.options)
  if not handle then
    return false, message, "unavailable"
  end
  conn.handle = handle
  return true
end

-- -> true, reply; or false, message, code
local function read(conn, ...)
  if not conn.handle then
    local ok, message, code = conn_open(conn)
    if not ok then
      return false, message, code
    end
  end
  return conn.handle:read(...)
end

-- As read, done once however often it has to be sent.
local function write(conn, ...)
  if not conn.handle then
    local ok, message, code = conn_open(conn)
    if not ok then
      return false, message, code
    end
  end
  return conn.handle:write(...)
end

-- As write, for what the cluster may answer only after `ms` milliseconds.
local function wait(conn, ms, ...)
  if not conn.handle then
    local ok, message, code = conn_open(conn)
    if not ok then
      return false, message, code
    end
  end
  return conn.handle:wait(ms, ...)
end

-- An answer of VGET -> value; or nil, message, code
local function decode(answer, key)
  local value, why = core.decode(answer[1], answer[2])
  if value == nil then
    return nil, format("key %s holds %s", key, why), "wrong_type"
  end
  return value
end

local function not_found(key)
  return nil, "key not found: " .. key
end

-- -> true, value, version; version 0 and no value for a missing key; or false, message, code
local function read_version(conn, key)
  local ok, answer, code = read(conn, "VGET", key)
  if not ok then
    return false, answer, code
  elseif not answer then
    return true, nil, 0
  end
  local value, message, why = decode(answer, sub(key, #conn.prefix + 1))
  if value == nil then
    return false, message, why
  end
  return true, value, answer[3]
end

-- -> true, and whether it was written; or false, message, code
local function write_version(conn, key, version, bytes, kind)
  local ok, written, code
  if version == 0 then
    ok, written, code = write(conn, "VSET", key, bytes, "TYPE", kind, "NX")
  else
    ok, written, code = write(conn, "VSET", key, bytes, "TYPE", kind, "IFVER", format("%d", version), "KEEPTTL")
  end
  if not ok then
    return false, written, code
  end
  return true, written ~= nil
end

-- Read the key, let `step(value)` decide, write what it returns if nobody wrote in between; until the deadline.
-- step gets nil for a missing key and returns bytes and type, or nothing to leave the key alone. It may run often.
-- -> true; or false, message, code
local function change(conn, key, step)
  local deadline, pause = core.now_ms() + conn.timeout_ms, PAUSE_FIRST_MS
  repeat
    local ok, value, version = read_version(conn, key)
    if not ok then
      return false, value, version
    end
    local bytes, kind = step(value)
    if not bytes then
      return true
    end
    local written, code
    ok, written, code = write_version(conn, key, version, bytes, kind)
    if not ok then
      return false, written, code
    elseif written then
      return true
    end
    core.pause(pause)
    pause = pause * 2 < PAUSE_MAX_MS and pause * 2 or PAUSE_MAX_MS
  until core.now_ms() >= deadline
  return false, format("key %s kept changing until the deadline", sub(key, #conn.prefix + 1)), "timeout"
end

---- Values -----------------------------------------------------------------------------------------------------------

---@alias holdfast.Key string|number
---@alias holdfast.Value string|number|boolean|table
---@alias holdfast.Code
---| "unavailable"
---| "unknown"
---| "timeout"
---| "denied"
---| "wrong_type"
---| "too_large"
---| "refused"
---| "lost"
---| "session_expired"
---| "protocol"

---@class holdfast.SetOptions
---@field ttl? number seconds
---@field if_absent? boolean only if the key does not exist
---@field if_present? boolean only if the key exists
---@field if_version? integer only if this is the key's version; 0: only if it does not exist

local function bind_values(state, conn)
  ---@class holdfast.State
  local s = state

  -- -> true; or false, message, code
  local function store(key, bytes, kind, words)
    local ok, version, code = write(conn, "VSET", key, bytes, "TYPE", kind, unpack(words))
    if not ok then
      return false, version, code
    elseif version == nil then
      return false, "the condition does not hold", "refused"
    end
    return true
  end

  --- Store a value. Without a ttl the key loses the TTL it had.
  ---@param key holdfast.Key
  ---@param value holdfast.Value
  ---@param options? number|holdfast.SetOptions ttl in seconds, or options
  ---@return boolean ok
  ---@return string? message
  ---@return holdfast.Code? code "refused" when the condition did not hold
  function s.set(key, value, options)
    local full = check_key(conn, "set", key)
    local bytes, kind = check_value("set", value, 2)
    local words = check_set_options("set", options, 3)
    return store(full, bytes, kind, words)
  end

  --- Store a value that is gone after `ttl` seconds.
  ---@param key holdfast.Key
  ---@param value holdfast.Value
  ---@param ttl number seconds
  ---@return boolean ok
  ---@return string? message
  ---@return holdfast.Code? code
  function s.set_with_ttl(key, value, ttl)
    local full = check_key(conn, "set_with_ttl", key)
    local bytes, kind = check_value("set_with_ttl", value, 2)
    local ms = check_ttl("set_with_ttl", ttl, 3)
    return store(full, bytes, kind, { "PX", ms })
  end

  --- The value of a key. Of a missing key: the default alone, or nil and "key not found: K". A stored false is a value.
  ---@param key holdfast.Key
  ---@param default? any
  ---@return any value nil on failure, whatever the default
  ---@return string? message
  ---@return holdfast.Code? code
  function s.get(key, default)
    local ok, answer, code = read(conn, "VGET", check_key(conn, "get", key))
    if not ok then
      return nil, answer, code
    elseif answer then
      return decode(answer, key)
    elseif default ~= nil then
      return default
    end
    return not_found(key)
  end

  --- The value and its version, which grows with each change of the key.
  ---@param key holdfast.Key
  ---@return any value
  ---@return integer|string|nil version or message
  ---@return holdfast.Code? code
  function s.get_with_version(key)
    local ok, answer, code = read(conn, "VGET", check_key(conn, "get_with_version", key))
    if not ok then
      return nil, answer, code
    elseif not answer then
      return not_found(key)
    end
    local value, message, why = decode(answer, key)
    if value == nil then
      return nil, message, why
    end
    return value, answer[3]
  end

  --- Delete a key; one that does not exist is fine.
  ---@param key holdfast.Key
  ---@return boolean ok
  ---@return boolean|string existed or message
  ---@return holdfast.Code? code
  function s.delete(key)
    local ok, count, code = write(conn, "DEL", check_key(conn, "delete", key))
    if not ok then
      return false, count, code
    end
    return true, count > 0
  end

  --- Does the key exist?
  ---@param key holdfast.Key
  ---@return boolean exists
  ---@return string? message
  ---@return holdfast.Code? code
  function s.exists(key)
    local ok, count, code = read(conn, "EXISTS", check_key(conn, "exists", key))
    if not ok then
      return false, count, code
    end
    return count > 0
  end
  s.has = s.exists
end

---- Changes that depend on what is there -----------------------------------------------------------------------------

local SWAP_OPTIONS = { ttl = true }

-- The fourth argument of compare_swap -> the words of CAS that follow the types.
local function check_swap_options(name, options, n)
  if options == nil then
    return {}
  elseif type(options) ~= "table" then
    bad_argument(n, name, expected("options (table)", options))
  end
  check_fields(name, options, n, SWAP_OPTIONS)
  if options.ttl == nil then
    return {}
  end
  local ms, why = milliseconds(options.ttl)
  if not ms then
    bad_argument(n, name, why)
  end
  return { "PX", ms }
end

-- CAS spells "absent" as an empty value of type nil. -> bytes, type; or nil and the reason
local function encode_or_absent(value)
  if value == nil then
    return "", "nil"
  end
  return core.encode(value)
end

local function bind_changes(state, conn)
  ---@class holdfast.State
  local s = state

  --- Store `new` only if the key holds `old`, type and value. `old` nil: only if the key is absent; `new` nil: delete
  --- it; both nil: is the key absent? Keeps the TTL unless one is given.
  --- Both have to be written out, nil too: a forgotten third argument must not delete.
  ---@param key holdfast.Key
  ---@param old? holdfast.Value
  ---@param ... holdfast.Value|{ ttl: number? }|nil new, options
  ---@return boolean swapped
  ---@return string? message
  ---@return holdfast.Code? code
  function s.compare_swap(key, old, ...)
    local full = check_key(conn, "compare_swap", key)
    if select("#", ...) == 0 then
      bad_argument(3, "compare_swap", "value expected, got no value: nil, written out, deletes", 2)
    end
    local new, options = ...
    local old_bytes, old_kind = encode_or_absent(old)
    if not old_bytes then
      bad_argument(2, "compare_swap", old_kind, 2)
    end
    local new_bytes, new_kind = encode_or_absent(new)
    if not new_bytes then
      bad_argument(3, "compare_swap", new_kind, 2)
    end
    local words = check_swap_options("compare_swap", options, 4)
    if old == nil and new == nil then
      local ok, count, code = read(conn, "EXISTS", full)
      if not ok then
        return false, count, code
      end
      return count == 0
    end
    local ok, swapped, code = write(conn, "CAS", full, old_bytes, new_bytes, "TYPES", old_kind, new_kind, unpack(words))
    if not ok then
      return false, swapped, code
    end
    return swapped == 1
  end
  s.compare_and_swap = s.compare_swap

  --- Store `new` if it differs from what is stored, and say whether it did. Keeps the TTL.
  ---@param key holdfast.Key
  ---@param new holdfast.Value
  ---@return boolean changed
  ---@return string? message
  ---@return holdfast.Code? code
  function s.changed(key, new)
    local full = check_key(conn, "changed", key)
    local bytes, kind = check_value("changed", new, 2)
    local differs
    local ok, message, code = change(conn, full, function(value)
      local old_bytes, old_kind = core.encode(value)
      differs = old_bytes ~= bytes or old_kind ~= kind
      if differs then
        return bytes, kind
      end
    end)
    if not ok then
      return false, message, code
    end
    return differs
  end

  --- Store what `fn` makes of the value. fn gets nil for a missing key, may run more than once, and may return nil to
  --- leave the key alone: the answer is then what the key holds. Keeps the TTL.
  ---@param key holdfast.Key
  ---@param fn fun(value: any): any
  ---@return any value
  ---@return string? message
  ---@return holdfast.Code? code
  function s.atomic_update(key, fn)
    local full = check_key(conn, "atomic_update", key)
    if type(fn) ~= "function" then
      bad_argument(2, "atomic_update", expected("function", fn), 2)
    end
    local result
    local ok, message, code = change(conn, full, function(value)
      result = fn(value)
      if result == nil then
        result = value
        return nil
      end
      local bytes, kind = core.encode(result)
      if not bytes then
        bad_argument(2, "atomic_update", "the function returned " .. kind, 4)
      end
      return bytes, kind
    end)
    if not ok then
      return nil, message, code
    end
    return result
  end
end

---- Numbers and strings ----------------------------------------------------------------------------------------------

local function bind_counters(state, conn)
  ---@class holdfast.State
  local s = state

  local function add(key, full, delta)
    local text, kind = core.encode(delta)
    local ok, answer, code = write(conn, "VINCR", full, text, "TYPE", kind)
    if not ok then
      return nil, answer, code
    end
    return decode(answer, key)
  end

  --- Add to a number in one step; a missing key counts as 0, a numeric string as its number. Keeps the TTL. An
  --- integer that would overflow is "refused" and changes nothing; what is no number is a "wrong_type".
  ---@param key holdfast.Key
  ---@param delta? number 1 by default; a float makes the result a float
  ---@return number? new
  ---@return string? message
  ---@return holdfast.Code? code
  function s.increment(key, delta)
    local full = check_key(conn, "increment", key)
    return add(key, full, check_delta("increment", delta, 2))
  end
  s.atomic_increment = s.increment

  --- Subtract from a number in one step, as increment adds.
  ---@param key holdfast.Key
  ---@param delta? number 1 by default
  ---@return number? new
  ---@return string? message
  ---@return holdfast.Code? code
  function s.decrement(key, delta)
    local full = check_key(conn, "decrement", key)
    local number = check_delta("decrement", delta, 2)
    if math_type(number) == "integer" and number == mininteger then
      bad_argument(2, "decrement", "out of range", 2) -- It has no negative.
    end
    return add(key, full, -number)
  end

  --- Append to a string in one step; a missing key counts as "". Keeps the TTL.
  ---@param key holdfast.Key
  ---@param text string|number
  ---@param separator? string goes between what is there and text, never before the first
  ---@return integer length in bytes, -1 on failure
  ---@return string? message
  ---@return holdfast.Code? code
  function s.append(key, text, separator)
    local full = check_key(conn, "append", key)
    local tail = check_string("append", text, 2)
    local between = separator == nil and "" or check_string("append", separator, 3)
    local ok, length, code = write(conn, "VAPPEND", full, tail, between)
    if not ok then
      return -1, length, code
    end
    return length
  end
end

---- Lists: JSON arrays, changed at their ends -------------------------------------------------------------------------

-- {} is both an empty object and an empty list.
local function is_list(value)
  return type(value) == "table" and (value[1] ~= nil or next(value) == nil)
end

local function no_list(key)
  return format("key %s holds no list", key), "wrong_type"
end

local function bind_lists(state, conn)
  ---@class holdfast.State
  local s = state

  --- Add an item at the tail of a list; a missing key counts as an empty one. Keeps the TTL.
  ---@param key holdfast.Key
  ---@param item holdfast.Value
  ---@return integer length -1 on failure
  ---@return string? message
  ---@return holdfast.Code? code
  function s.list_push(key, item)
    local full = check_key(conn, "list_push", key)
    check_value("list_push", item, 2)
    local length
    local ok, message, code = change(conn, full, function(list)
      list = list == nil and {} or list
      length = nil
      if not is_list(list) then
        return nil
      end
      length = #list + 1
      list[length] = item
      local bytes, kind = core.encode(list)
      if not bytes then -- What can be stored alone need not fit into a list: NaN, bytes that are no UTF-8.
        bad_argument(2, "list_push", kind, 4)
      end
      return bytes, kind
    end)
    if not ok then
      return -1, message, code
    elseif not length then
      return -1, no_list(key)
    end
    return length
  end

  --- Take an item off a list: the last one pushed, or with "head" the first. nil and a message when there is none.
  ---@param key holdfast.Key
  ---@param from? "tail"|"head"
  ---@return any item
  ---@return string? message
  ---@return holdfast.Code? code
  function s.list_pop(key, from)
    local full = check_key(conn, "list_pop", key)
    if from ~= nil and from ~= "head" and from ~= "tail" then
      bad_argument(2, "list_pop", "\"head\" or \"tail\" expected", 2)
    end
    local item, wrong
    local ok, message, code = change(conn, full, function(list)
      item, wrong = nil, list ~= nil and not is_list(list)
      if list == nil or wrong or #list == 0 then
        return nil
      end
      item = remove(list, from == "head" and 1 or #list)
      local bytes, kind = core.encode(list)
      wrong = not bytes -- Nested deeper than this client writes: not one of ours.
      return bytes, kind
    end)
    if not ok then
      return nil, message, code
    elseif wrong then
      return nil, no_list(key)
    elseif item == nil then
      return nil, "list is empty: " .. key
    end
    return item
  end

  --- How many items a list has; 0 for a missing key.
  ---@param key holdfast.Key
  ---@return integer length 0 on failure, with a message
  ---@return string? message
  ---@return holdfast.Code? code
  function s.list_length(key)
    local ok, answer, code = read(conn, "VGET", check_key(conn, "list_length", key))
    if not ok then
      return 0, answer, code
    elseif not answer then
      return 0
    end
    local list, message, why = decode(answer, key)
    if list == nil then
      return 0, message, why
    elseif not is_list(list) then
      return 0, no_list(key)
    end
    return #list
  end
end

---- Time to live -----------------------------------------------------------------------------------------------------

local function bind_ttl(state, conn)
  ---@class holdfast.State
  local s = state

  -- PERSIST answers 0 both for a key without TTL and for none at all.
  local function persist(full)
    local ok, done, code = write(conn, "PERSIST", full)
    if ok and done == 0 then
      ok, done, code = read(conn, "EXISTS", full)
    end
    return ok, done, code
  end

  --- Let a key live for `seconds` from now; 0 or less: for ever.
  ---@param key holdfast.Key
  ---@param seconds number
  ---@return boolean ok
  ---@return string? message
  ---@return holdfast.Code? code
  function s.set_ttl(key, seconds)
    local full = check_key(conn, "set_ttl", key)
    local ok, done, code
    if type(seconds) == "number" and seconds <= 0 then
      ok, done, code = persist(full)
    else
      local ms = check_ttl("set_ttl", seconds, 2)
      ok, done, code = write(conn, "PEXPIRE", full, ms)
    end
    if not ok then
      return false, done, code
    elseif done == 0 then
      return false, "key not found: " .. key
    end
    return true
  end

  --- Seconds a key has left to live: -1 without a TTL, -2 without a key.
  ---@param key holdfast.Key
  ---@return number seconds -1 on failure, with a message
  ---@return string? message
  ---@return holdfast.Code? code
  function s.get_ttl(key)
    local ok, ms, code = read(conn, "PTTL", check_key(conn, "get_ttl", key))
    if not ok then
      return -1, ms, code
    elseif ms < 0 then
      return ms
    end
    return ms / 1000
  end
  s.ttl = s.get_ttl
end

---- Many keys --------------------------------------------------------------------------------------------------------

local function glob_escape(text)
  return (gsub(text, "[*?%[%]\\]", "\\%0"))
end

-- The keys that match, as the cluster knows them. -> array; or nil, message, code
local function matching(conn, glob)
  local ok, keys, code = read(conn, "KEYS", glob_escape(conn.prefix) .. glob)
  if not ok then
    return nil, keys, code
  end
  sort(keys)
  return keys
end

local function piece_of(keys, first)
  local last = first + KEYS_PER_PIECE - 1
  return move(keys, first, last < #keys and last or #keys, 1, {})
end

-- Read the keys first to last into `map`. A key that is gone by now, or of another kind, is left out.
-- -> true; or false, message, code
local function read_range(conn, keys, first, last, map)
  local ok, answers, code = read(conn, "VMGET", unpack(keys, first, last))
  if not ok then
    return false, answers, code
  end
  for i, answer in ipairs(answers) do
    if answer then
      local key = sub(keys[first + i - 1], #conn.prefix + 1)
      local value, message, why = decode(answer, key)
      if value == nil then
        return false, message, why
      end
      map[key] = value
    end
  end
  return true
end

-- Read the keys of one piece into `map`, in as many requests as their values need.
-- -> true; or false, message, code
local function read_piece(conn, piece, map)
  local ok, lengths, code = conn.handle:lengths(unpack(piece))
  if not ok then
    return false, lengths, code
  end
  local first, bytes = 1, 0
  for i, length in ipairs(lengths) do
    bytes = bytes + length
    if i == #lengths or bytes + lengths[i + 1] > BYTES_PER_PIECE then
      local message
      ok, message, code = read_range(conn, piece, first, i, map)
      if not ok then
        return false, message, code
      end
      first, bytes = i + 1, 0
    end
  end
  return true
end

local function bind_keys(state, conn)
  ---@class holdfast.State
  local s = state

  --- The keys that match a glob (`* ? [a-z] \x`, bytes, case-sensitive), sorted.
  ---@param glob? string all keys by default
  ---@return string[]? keys
  ---@return string? message
  ---@return holdfast.Code? code
  function s.keys(glob)
    local keys, message, code = matching(conn, check_glob("keys", glob, 1))
    if not keys then
      return nil, message, code
    end
    for i, key in ipairs(keys) do
      keys[i] = sub(key, #conn.prefix + 1)
    end
    return keys
  end

  --- Keys and values below a prefix. Each piece of 512 keys or 32 MiB is read at one instant, the whole is not.
  ---@param prefix? string all keys by default
  ---@return table<string, any>? map
  ---@return string? message
  ---@return holdfast.Code? code
  function s.list(prefix)
    local glob = glob_escape(prefix == nil and "" or check_string("list", prefix, 1)) .. "*"
    local keys, message, code = matching(conn, glob)
    if not keys then
      return nil, message, code
    end
    local map = {}
    for first = 1, #keys, KEYS_PER_PIECE do
      local ok
      ok, message, code = read_piece(conn, piece_of(keys, first), map)
      if not ok then
        return nil, message, code
      end
    end
    return map
  end

  --- All keys and values, as list reads them.
  ---@return table<string, any>? map
  ---@return string? message
  ---@return holdfast.Code? code
  function s.get_all()
    return s.list()
  end

  --- Delete the keys that match a glob. Atomic for each piece of 512 keys only: other workers may see some of them
  --- gone and others not yet, and a key made meanwhile may stay.
  ---@param glob? string all keys by default
  ---@return boolean ok
  ---@return integer|string count or message
  ---@return holdfast.Code? code
  function s.clear(glob)
    local keys, message, code = matching(conn, check_glob("clear", glob, 1))
    if not keys then
      return false, message, code
    end
    local count = 0
    for first = 1, #keys, KEYS_PER_PIECE do
      local ok, deleted, why = write(conn, "DEL", unpack(piece_of(keys, first)))
      if not ok then
        return false, deleted, why
      end
      count = count + deleted
    end
    return true, count
  end
end

---- Locks ------------------------------------------------------------------------------------------------------------

local LOCK_NAME_BYTES_MAX = 512
local LOCK_TIMEOUT_DEFAULT = 30 -- Seconds.
local LOCK_TIMEOUT_MAX = 24 * 3600
local LOCK_OPTIONS = { ttl = true, timeout = true, reentrant = true, shared = true }
local NOT_HELD = "lock not held by this session"

-- The name as the cluster knows it.
local function check_lock_name(conn, name, lock_name, n)
  if type(lock_name) == "number" then
    lock_name = lock_name .. ""
  elseif type(lock_name) ~= "string" then
    bad_argument(n or 1, name, expected("lock name (string or number)", lock_name))
  end
  if lock_name == "" then
    bad_argument(n or 1, name, "the name is empty")
  elseif #conn.prefix + #lock_name > LOCK_NAME_BYTES_MAX then
    bad_argument(n or 1, name, "the name is longer than 512 bytes")
  end
  return conn.prefix .. lock_name
end

-- Seconds to wait -> milliseconds; 0 is fine. Or nil and the reason.
local function wait_milliseconds(seconds)
  if type(seconds) ~= "number" then
    return nil, expected("seconds (number)", seconds)
  elseif not (seconds >= 0 and seconds <= LOCK_TIMEOUT_MAX) then
    return nil, "0 to 86400 seconds expected"
  end
  return floor(seconds * 1000 + 0.5)
end

-- The second argument of lock and try_lock -> what to ask for: { wait_ms =, ttl_ms =, words = }. A number alone means
-- the field `alone`. wait is the default timeout.
local function check_lock_options(name, options, n, alone, wait_default)
  if options == nil then
    options = {}
  elseif type(options) == "number" then
    options = { [alone] = options }
  elseif type(options) ~= "table" then
    bad_argument(n, name, expected(alone .. " (number) or options (table)", options))
  end
  check_fields(name, options, n, LOCK_OPTIONS)
  local ask, why = { words = {} }, nil
  ask.wait_ms, why = wait_milliseconds(options.timeout or wait_default)
  if ask.wait_ms and options.ttl ~= nil then
    ask.ttl_ms, why = milliseconds(options.ttl)
  end
  if why then
    bad_argument(n, name, why)
  end
  for _, word in ipairs({ "reentrant", "shared" }) do
    if options[word] then
      ask.words[#ask.words + 1] = word:upper()
    end
  end
  return ask
end

-- Requests whose outcome is not known may be granted yet: the next chance is taken to give them up.
local function settle_doubts(conn)
  for full in next, conn.doubts do
    if not write(conn, "LOCK", "RELEASE", full, "-") then
      return
    end
    conn.doubts[full] = nil
  end
end

-- Forget a lock of this client.
local function drop_lock(conn, lock, entry)
  local held = conn.held[entry.full]
  for i = #(held or {}), 1, -1 do
    if held[i] == lock then
      remove(held, i)
    end
  end
  if held and #held == 0 then
    conn.held[entry.full] = nil
  end
end

-- The holder will not get it back: tell whoever wanted to know, once.
local function lose_lock(conn, lock, entry)
  if entry.over then
    return
  end
  entry.over = true
  drop_lock(conn, lock, entry)
  for _, fn in ipairs(entry.on_lost) do
    fn(lock)
  end
end

local function lock_is_alive(conn, entry)
  local now = core.now_ms()
  return not entry.over
    and conn.handle ~= nil
    and (not entry.until_ms or now < entry.until_ms)
    and conn.handle:alive(entry.session)
end

-- -> true; or false, message, code
local function release_lock(conn, lock, entry)
  if entry.over then
    return false, NOT_HELD, "lost"
  end
  local ok, released, code = write(conn, "LOCK", "RELEASE", entry.full, "-", "TOKEN", format("%d", lock.token))
  if not ok then
    if code == "unknown" or code == "unavailable" then
      conn.doubts[entry.full] = true
    end
    return false, released, code
  elseif released == 0 then
    lose_lock(conn, lock, entry)
    return false, NOT_HELD, "lost"
  end
  entry.over = true
  drop_lock(conn, lock, entry)
  return true
end

---@class holdfast.Lock
---@field name string
---@field token integer grows with each grant of this lock; the cluster's GUARD refuses stale ones
---@field alive fun(): boolean is it still held, for sure? Asks nobody, and never says yes too late
---@field release fun(): boolean, string?, holdfast.Code?
---@field on_lost fun(fn: fun(lock: holdfast.Lock)) fn is called once, when this client notices that the lock is gone
local function lock_new(conn, full, token, ask, sent_ms)
  local entry = { full = full, session = conn.handle:session(), on_lost = {}, holder = ask.holder }
  entry.until_ms = ask.ttl_ms and sent_ms + ask.ttl_ms
  local lock = { name = sub(full, #conn.prefix + 1), token = token }
  function lock.alive()
    local alive = lock_is_alive(conn, entry)
    if not alive then
      lose_lock(conn, lock, entry)
    end
    return alive
  end
  function lock.release()
    return release_lock(conn, lock, entry)
  end
  function lock.on_lost(fn)
    if type(fn) ~= "function" then
      bad_argument(1, "on_lost", expected("function", fn), 2)
    end
    entry.on_lost[#entry.on_lost + 1] = fn
  end
  conn.held[full] = conn.held[full] or {}
  insert(conn.held[full], lock)
  conn.entries[lock] = entry
  return lock
end

-- -> true, lock; or false, message, code
local function acquire(conn, full, ask)
  settle_doubts(conn)
  local words = { unpack(ask.words) }
  if ask.ttl_ms then
    words[#words + 1] = "TTL"
    words[#words + 1] = ask.ttl_ms
  end
  if ask.wait_ms > 0 then
    words[#words + 1] = "WAIT"
    words[#words + 1] = format("%d", ask.wait_ms)
  end
  local sent_ms = core.now_ms()
  local ok, token, code = wait(conn, ask.wait_ms, "LOCK", "ACQUIRE", full, "-", unpack(words))
  if not ok then
    if code == "unknown" then
      conn.doubts[full] = true
    end
    return false, token, code
  elseif not token then
    if ask.wait_ms > 0 then
      return false, "timeout", "timeout"
    end
    return false, "lock is not free: " .. sub(full, #conn.prefix + 1), "refused"
  end
  -- A lease that was waited for begins when it is granted, which is not before the request was sent.
  return true, lock_new(conn, full, token, ask, sent_ms)
end

-- What `fn` returns when called with a lock that is released afterwards; or nil, message.
local function run_locked(lock, fn)
  local results = pack(pcall(fn, lock))
  lock.release()
  if not results[1] then
    return nil, "Function execution failed: " .. tostring(results[2])
  end
  return unpack(results, 2, results.n)
end

-- RESP2 has no maps: names and values by turns.
local function fields_of(flat)
  local fields = {}
  for i = 1, #flat, 2 do
    fields[flat[i]] = flat[i + 1]
  end
  return fields
end

-- -> holder's fields or false, waiters; or nil, message, code
local function lock_state(conn, full)
  local ok, info, code = read(conn, "LOCK", "INFO", full)
  if not ok then
    return nil, info, code
  elseif not info then
    return false, {}
  end
  local fields = fields_of(info)
  local first = fields.holders[1]
  return first and fields_of(first) or false, fields.waiters
end

local function holder_name(holder)
  return holder.name ~= "" and holder.name or format("session %d", holder.session)
end

-- with_lock(name, fn, timeout) or with_lock(name, holder, secs, fn) -> fn, what to ask for
local function check_with_lock(second, third, fourth)
  local fn, ask = second, nil
  if type(second) == "string" then
    fn = fourth
    ask = { words = {}, wait_ms = 0, ttl_ms = check_ttl("with_lock", third, 3), holder = second }
  else
    ask = check_lock_options("with_lock", third, 3, "timeout", LOCK_TIMEOUT_DEFAULT)
  end
  if type(fn) ~= "function" then
    bad_argument(type(second) == "string" and 4 or 2, "with_lock", expected("function", fn))
  end
  return fn, ask
end

local function bind_locks(state, conn)
  ---@class holdfast.State
  local s = state
  conn.held, conn.doubts = {}, {}
  conn.entries = setmetatable({}, { __mode = "k" })

  --- Take a lock if it is free. It lives as long as this client's session, or for `ttl` seconds.
  ---@param name holdfast.Key
  ---@param options? number|{ ttl: number?, reentrant: boolean?, shared: boolean? } ttl in seconds, or options
  ---@return boolean ok
  ---@return holdfast.Lock|string lock or message
  ---@return holdfast.Code? code "refused" when it is not free
  function s.try_lock(name, options)
    local full = check_lock_name(conn, "try_lock", name)
    local ask = check_lock_options("try_lock", options, 2, "ttl", 0)
    return acquire(conn, full, ask)
  end

  --- Wait for a lock; whoever asks first gets it first. With a string as second argument, the tool's other dialect:
  --- take the lock if it is free, for `secs` seconds at most.
  ---@param name holdfast.Key
  ---@param options? number|string|{ timeout: number?, ttl: number?, reentrant: boolean?, shared: boolean? }
  ---@param secs? number only after a holder's name
  ---@return boolean ok
  ---@return holdfast.Lock|string lock or message
  ---@return holdfast.Code? code "timeout" when others held it all the time
  function s.lock(name, options, secs)
    local full = check_lock_name(conn, "lock", name)
    local ask
    if type(options) == "string" then
      ask = { words = {}, wait_ms = 0, ttl_ms = check_ttl("lock", secs, 3), holder = options }
    else
      ask = check_lock_options("lock", options, 2, "timeout", LOCK_TIMEOUT_DEFAULT)
    end
    return acquire(conn, full, ask)
  end

  --- Release the lock that this client took last under that name (and, in the other dialect, for that holder).
  ---@param name holdfast.Key
  ---@param holder? string
  ---@return boolean ok
  ---@return string? message
  ---@return holdfast.Code? code
  function s.unlock(name, holder)
    local full = check_lock_name(conn, "unlock", name)
    if holder ~= nil and type(holder) ~= "string" then
      bad_argument(2, "unlock", expected("holder (string)", holder), 2)
    end
    local held = conn.held[full]
    local lock = held and held[#held]
    if not lock or holder and conn.entries[lock].holder ~= holder then
      return false, NOT_HELD
    end
    return lock.release()
  end

  --- Run `fn` with the lock held: with_lock(name, fn[, timeout or options]), or with_lock(name, holder, secs, fn).
  ---@return any ... what fn returns; nil, message, code when it was not run; nil, message when it raised
  function s.with_lock(name, second, third, fourth)
    local full = check_lock_name(conn, "with_lock", name)
    local fn, ask = check_with_lock(second, third, fourth)
    local ok, lock, code = acquire(conn, full, ask)
    if not ok then
      return nil, lock, code
    end
    return run_locked(lock, fn)
  end

  --- Does anybody hold the lock?
  ---@param name holdfast.Key
  ---@return boolean locked
  ---@return string? holder or message
  ---@return integer|holdfast.Code|nil token or code
  function s.is_locked(name)
    local holder, message, code = lock_state(conn, check_lock_name(conn, "is_locked", name))
    if holder == nil then
      return false, message, code
    elseif not holder then
      return false
    end
    return true, holder_name(holder), holder.token
  end

  --- Who holds the lock, since when, for how long still (-1: no limit), and how many wait. nil and a message when it is
  --- free.
  ---@param name holdfast.Key
  ---@return { holder: string, token: integer, held_for: number, ttl: number, waiters: integer }? info
  ---@return string? message
  ---@return holdfast.Code? code
  function s.lock_info(name)
    local holder, waiters, code = lock_state(conn, check_lock_name(conn, "lock_info", name))
    if holder == nil then
      return nil, waiters, code
    elseif not holder then
      return nil, "lock not found: " .. name
    end
    return {
      holder = holder_name(holder),
      token = holder.token,
      held_for = holder.held / 1000,
      ttl = holder.left < 0 and holder.left or holder.left / 1000,
      waiters = #waiters,
    }
  end
end

---- Semaphores --------------------------------------------------------------------------------------------------------

local PERMITS_MAX = 1000000

local function check_permits(name, permits, n, max)
  if math_type(permits) ~= "integer" or permits < 1 or permits > max then
    bad_argument(n, name, format("1 to %d permits (integer) expected", max))
  end
  return permits
end

local function bind_semaphores(state, conn)
  ---@class holdfast.State
  local s = state

  ---@class holdfast.Semaphore
  ---@field acquire fun(timeout: number?, n: integer?): boolean, holdfast.Lock|string, holdfast.Code?
  ---@field try_acquire fun(n: integer?): boolean, holdfast.Lock|string, holdfast.Code?
  ---@field release fun(): boolean, string?, holdfast.Code?

  --- A lock that up to `permits` may hold at once. acquire waits up to timeout (30 seconds) for n permits (1) and gives a
  --- lock, try_acquire does not wait; release gives back what this client acquired last.
  ---@param name holdfast.Key
  ---@param permits integer the same for all who use this name
  ---@return holdfast.Semaphore
  function s.semaphore(name, permits)
    local full = check_lock_name(conn, "semaphore", name)
    check_permits("semaphore", permits, 2, PERMITS_MAX)
    local semaphore, held = {}, {}

    local function take(ask, n)
      ask.words = { "PERMITS", format("%d", n), "OF", format("%d", permits) }
      local ok, lock, code = acquire(conn, full, ask)
      if ok then
        insert(held, lock)
      end
      return ok, lock, code
    end

    function semaphore.acquire(timeout, n)
      local ms, why = wait_milliseconds(timeout or LOCK_TIMEOUT_DEFAULT)
      if not ms then
        bad_argument(1, "acquire", why, 2)
      end
      return take({ wait_ms = ms }, check_permits("acquire", n or 1, 2, permits))
    end

    function semaphore.try_acquire(n)
      return take({ wait_ms = 0 }, check_permits("try_acquire", n or 1, 1, permits))
    end

    function semaphore.release()
      local lock = remove(held)
      if not lock then
        return false, NOT_HELD
      end
      return lock.release()
    end

    return semaphore
  end
end

---- The client itself ------------------------------------------------------------------------------------------------

---@class holdfast.Stats
---@field total_keys integer in the whole cluster, whatever the namespace
---@field expired_keys integer that have ended by their TTL
---@field active_locks integer
---@field db_size_bytes integer of the state on disk of the node that answered
---@field total_size integer the same as db_size_bytes
---@field backend string
---@field leader string host:port, "" when unknown
---@field nodes string[] host:port, as configured
---@field revision integer of the last change of all

-- INFO's "name:value" lines.
local function parse_info(text)
  local info = {}
  for name, value in gmatch(text, "([%w_]+):([^\r\n]*)") do
    info[name] = value
  end
  return info
end

local function info_integer(info, name)
  return floor(tonumber(info[name]) or 0)
end

local function bind_client(state, conn)
  ---@class holdfast.State
  local s = state

  --- What the cluster says about itself.
  ---@return holdfast.Stats? stats
  ---@return string? message
  ---@return holdfast.Code? code
  function s.stats()
    local ok, total, code = read(conn, "DBSIZE")
    if not ok then
      return nil, total, code
    end
    local text
    ok, text, code = read(conn, "INFO")
    if not ok then
      return nil, text, code
    end
    local info = parse_info(text)
    local size = info_integer(info, "file_bytes")
    return {
      total_keys = total,
      expired_keys = info_integer(info, "expired_keys"),
      active_locks = info_integer(info, "active_locks"),
      db_size_bytes = size,
      total_size = size,
      backend = "holdfast",
      leader = info.leader_client_address or "",
      nodes = conn.handle:nodes(),
      revision = info_integer(info, "revision"),
    }
  end

  --- Close the connection and end the session, and with it all that it holds. A client of state.connect is then closed for good and raises when it is used again; the
  --- module's own connection opens again at the next call.
  function s.close()
    if conn.handle then
      conn.handle:close()
      conn.handle = nil
    end
    conn.closed = conn.closed or not conn.reopens
  end
end

local function bind(state, conn)
  bind_values(state, conn)
  bind_changes(state, conn)
  bind_counters(state, conn)
  bind_lists(state, conn)
  bind_ttl(state, conn)
  bind_keys(state, conn)
  bind_locks(state, conn)
  bind_semaphores(state, conn)
  bind_client(state, conn)
  state.null = core.null
  return state
end

---- The module -------------------------------------------------------------------------------------------------------

---@class holdfast.Options
---@field nodes? string|string[] "host:port,..."; default: HOLDFAST_NODES, else ports 7401 to 7403 of this host
---@field namespace? string goes before every key with a colon; default: HOLDFAST_NAMESPACE; "" for none
---@field timeout? number seconds for one call, retries included; 5 by default
---@field session_ttl? number seconds without a sign of life after which the cluster ends this client's session; 10 by default
---@field user? string default: HOLDFAST_USER
---@field password? string default: HOLDFAST_PASSWORD

local CONNECT_OPTIONS = {
  nodes = "string",
  namespace = "string",
  timeout = "number",
  session_ttl = "number",
  user = "string",
  password = "string",
}

local function prefix_of(namespace)
  return (namespace == nil or namespace == "") and "" or namespace .. ":"
end

-- The first fault of connect's options, or nil.
local function options_fault(options)
  for name, value in next, options do
    local kind = CONNECT_OPTIONS[name]
    if not kind then
      return format("option '%s' is not one of this version", tostring(name))
    elseif type(value) ~= kind then
      return format("%s: %s", name, expected(kind, value))
    end
  end
  local timeout = options.timeout or TIMEOUT_DEFAULT
  if not (timeout >= 0.001 and timeout <= TIMEOUT_MAX) then
    return "timeout: 0.001 to 86400 seconds expected"
  end
  local session_ttl = options.session_ttl or SESSION_TTL_DEFAULT
  if not (session_ttl >= SESSION_TTL_MIN and session_ttl <= SESSION_TTL_MAX) then
    return "session_ttl: 0.1 to 86400 seconds expected"
  elseif #(options.namespace or "") > KEY_BYTES_MAX // 2 then
    return "namespace: too long"
  end
end

local function conn_new(options)
  local timeout_ms = floor((options.timeout or TIMEOUT_DEFAULT) * 1000)
  return {
    options = {
      nodes = options.nodes,
      user = options.user,
      password = options.password,
      timeout_ms = timeout_ms,
      session_ttl_ms = floor((options.session_ttl or SESSION_TTL_DEFAULT) * 1000),
    },
    prefix = prefix_of(options.namespace or getenv("HOLDFAST_NAMESPACE")),
    timeout_ms = timeout_ms,
    -- Credentials must not go over a plain connection where TLS was asked for.
    refusal = getenv("HOLDFAST_CA") and "HOLDFAST_CA is set, and this version has no TLS" or nil,
  }
end

-- `local s <close> = state.connect{}` works too.
local client_meta = {
  __name = "holdfast.State",
  __close = function(client)
    client.close()
  end,
}

local module_conn = conn_new({})
module_conn.reopens = true

---@class holdfast.State
local module = bind({}, module_conn)

--- A client of its own, with the same calls (`local s = state.connect{...}; s.get("k")`). Connects at its first call.
---@param options? holdfast.Options
---@return holdfast.State client
function module.connect(options)
  if options ~= nil and type(options) ~= "table" then
    bad_argument(1, "connect", expected("options (table)", options), 2)
  end
  local given = {}
  for name, value in pairs(options or {}) do
    given[name] = value
  end
  if type(given.nodes) == "table" then
    given.nodes = concat(given.nodes, ",")
  end
  local fault = options_fault(given)
  if fault then
    bad_argument(1, "connect", fault, 2)
  end
  local conn = conn_new(given)
  local handle, message = core.open(conn.options)
  if not handle then
    bad_argument(1, "connect", message, 2)
  end
  conn.handle = not conn.refusal and handle or nil
  return setmetatable(bind({}, conn), client_meta)
end

return module
