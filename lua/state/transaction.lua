--- state/transaction.lua - several keys at one instant: all of it, or nothing.
-- Reads remember the version they saw, writes are kept here. At the end one script on the cluster compares the versions
-- and writes; when one has changed, everything runs again. The script is sent as a write with a serial number, so a
-- transaction that is sent again after a lost connection is done once. It holds one write a key and only such as cannot
-- fail, but for a value past the size that the nodes take: the largest comes first, so that nothing was done before.
local core = require "state.core"
local check = require "state.check"
local link = require "state.link"

local error, ipairs, next, pcall, tonumber, tostring, type = error, ipairs, next, pcall, tonumber, tostring, type
local insert, move, pack, sort, unpack = table.insert, table.move, table.pack, table.sort, table.unpack
local format = string.format
local math_type = math.type
local bad_argument, expected, check_key, check_value = check.bad_argument, check.expected, check.key, check.value
local check_ttl, check_delta = check.ttl, check.delta
local read, write, read_version = link.read, link.write, link.read_version

local KEYS_MAX = 1000 -- In one transaction, read or written.
local PAUSE_FIRST_MS, PAUSE_MAX_MS = 2, 128 -- Upper bounds of the random pauses between two runs.

-- KEYS: what was read, then what is written. ARGV: how many were read; their versions; then for each write the number
-- of its words after the key, "VSET" or "DEL", and those words.
local SCRIPT = [[
local n = tonumber(ARGV[1])
for i = 1, n do
  local row = redis.call('VGET', KEYS[i])
  if tostring(row and row[3] or 0) ~= ARGV[i + 1] then
    return 0
  end
end
local at = n + 2
for i = n + 1, #KEYS do
  local words = tonumber(ARGV[at])
  redis.call(ARGV[at + 1], KEYS[i], unpack(ARGV, at + 2, at + 1 + words))
  at = at + 2 + words
end
return 1]]

-- A run of the function. `seen`: full key -> { version =, value = }; `queued`: full key -> { bytes =, words =, value =
-- }.
local function tx_new(conn)
  local t = { seen = {}, queued = {}, n = 0 }

  -- The function must not go on with what it has not got.
  local function give_up(message, code)
    t.failure = t.failure or { message, code }
    error(t.failure, 0)
  end

  local function count(full)
    if not t.seen[full] and not t.queued[full] then
      t.n = t.n + 1
      if t.n > KEYS_MAX then
        give_up(format("a transaction has up to %d keys", KEYS_MAX), "too_large")
      end
    end
  end

  local function value_of(full)
    if t.queued[full] then
      return t.queued[full].value
    elseif not t.seen[full] then
      count(full)
      local ok, value, version = read_version(conn, full)
      if not ok then
        give_up(value, version)
      end
      t.seen[full] = { value = value, version = version }
    end
    return t.seen[full].value
  end

  -- The key's write, in place of an earlier one. kind nil: delete; the rest are the words of VSET after the type.
  local function queue(full, value, bytes, kind, ...)
    count(full)
    t.queued[full] = { full = full, value = value, bytes = bytes, kind = kind, options = { ... } }
  end

  ---@class holdfast.Transaction
  local tx = {}
  t.tx = tx

  --- The value of a key as this transaction sees it, its own writes included.
  ---@param key holdfast.Key
  ---@param default? any
  ---@return any value
  function tx.get(key, default)
    local value = value_of(check_key(conn, "get", key))
    if value == nil then
      return default
    end
    return value
  end

  --- Does the key exist?
  ---@param key holdfast.Key
  ---@return boolean
  function tx.exists(key)
    return value_of(check_key(conn, "exists", key)) ~= nil
  end

  --- Store a value when the transaction ends. Without a ttl the key loses the TTL it had.
  ---@param key holdfast.Key
  ---@param value holdfast.Value
  ---@param ttl? number seconds
  function tx.set(key, value, ttl)
    local full = check_key(conn, "set", key)
    local bytes, kind = check_value("set", value, 2)
    if ttl == nil then
      queue(full, value, bytes, kind)
    else
      queue(full, value, bytes, kind, "PX", check_ttl("set", ttl, 3))
    end
  end

  --- Delete a key when the transaction ends.
  ---@param key holdfast.Key
  function tx.delete(key)
    queue(check_key(conn, "delete", key), nil, "")
  end

  --- Add to a number, which is read first; a missing key counts as 0. Keeps the TTL.
  ---@param key holdfast.Key
  ---@param delta? number 1 by default
  ---@return number new
  function tx.increment(key, delta)
    local full = check_key(conn, "increment", key)
    local by, old = check_delta("increment", delta, 2), tonumber(value_of(full) or 0)
    if not old then
      give_up(format("key %s holds no number", key), "wrong_type")
    end
    local new = old + by
    local bytes, kind = core.encode(new)
    if by ~= 0 and (by > 0) ~= (new > old) and math_type(new) == "integer" or new ~= new or new - new ~= 0 then
      give_up("the increment would overflow", "refused")
    end
    local before = t.queued[full]
    queue(full, new, bytes, kind, unpack(before and before.options or { "KEEPTTL" }))
    return new
  end

  --- End it here, with nothing done: transaction returns false, message, "refused".
  ---@param message? string
  function tx.abort(message)
    give_up(message == nil and "the transaction was given up" or tostring(message), "refused")
  end

  return t
end

local function append(to, list)
  return move(list, 1, #list, #to + 1, to)
end

-- The words of one write, as the script takes them apart.
local function write_words(queued)
  if not queued.kind then
    return { "0", "DEL" }
  end
  return append({ format("%d", 3 + #queued.options), "VSET", queued.bytes, "TYPE", queued.kind }, queued.options)
end

-- -> the words of EVAL after the script
local function commit_words(t)
  local keys, args, writes = {}, {}, {}
  for full, seen in next, t.seen do
    keys[#keys + 1] = full
    args[#args + 1] = format("%d", seen.version)
  end
  insert(args, 1, format("%d", #keys))
  for _, queued in next, t.queued do
    writes[#writes + 1] = queued
  end
  sort(writes, function(a, b)
    return #a.bytes > #b.bytes
  end)
  for _, queued in ipairs(writes) do
    keys[#keys + 1] = queued.full
    append(args, write_words(queued))
  end
  return append(append({ format("%d", #keys) }, keys), args)
end

-- -> true, and whether it was done; or false, message, code
local function commit(conn, t)
  if t.n == 0 then
    return true, true
  end
  local ok, done, code
  if next(t.queued) then
    ok, done, code = write(conn, "EVAL", SCRIPT, unpack(commit_words(t)))
  else
    ok, done, code = read(conn, "EVAL_RO", SCRIPT, unpack(commit_words(t)))
  end
  if not ok then
    return false, done, code
  end
  return true, done == 1
end

-- One run of fn -> true, its results; or false, message, code. What fn itself raises goes on.
local function run(t, fn)
  local results = pack(pcall(fn, t.tx))
  if t.failure then
    return false, t.failure[1], t.failure[2]
  elseif not results[1] then
    error(results[2], 0)
  end
  return true, results
end

local function bind_transaction(state, conn)
  ---@class holdfast.State
  local s = state

  --- Read and write several keys at one instant. fn gets a tx: its reads are the cluster's values, its writes are done
  --- when fn returns, all or none. When somebody else has changed what it read, fn runs again, until the deadline; so
  --- it must do nothing else. An error that fn raises ends the transaction with nothing done, and goes on to the
  --- caller.
  ---@param fn fun(tx: holdfast.Transaction): ...
  ---@return boolean ok
  ---@return any ... what fn returned; or message, code
  function s.transaction(fn)
    if type(fn) ~= "function" then
      bad_argument(1, "transaction", expected("function", fn), 2)
    end
    local deadline, pause = core.now_ms() + conn.timeout_ms, PAUSE_FIRST_MS
    repeat
      local t = tx_new(conn)
      local ok, results, code = run(t, fn)
      if not ok then
        return false, results, code
      end
      local done
      ok, done, code = commit(conn, t)
      if not ok then
        return false, done, code
      elseif done then
        return true, unpack(results, 2, results.n)
      end
      core.pause(pause)
      pause = pause * 2 < PAUSE_MAX_MS and pause * 2 or PAUSE_MAX_MS
    until core.now_ms() >= deadline
    return false, "what the transaction read kept changing until the deadline", "timeout"
  end
end

return { bind = bind_transaction }
