--- state/results.lua - work that is done by one for all: computed once, while the others wait for what comes of it.
-- Who wants a result that is not there takes the key's lock: the first computes, the others wait in the lock's queue
-- and find the result when it is their turn. When the worker that computes dies, its session ends and the next one
-- computes. The result is stored under the lock's token, so that one who was thought dead cannot store his late.
local core = require "state.core"
local check = require "state.check"
local link = require "state.link"
local locks = require "state.locks"

local pcall, tostring, type = pcall, tostring, type
local format, unpack = string.format, table.unpack
local bad_argument, expected, check_key, check_ttl = check.bad_argument, check.expected, check.key, check.ttl
local check_lock_name = check.lock_name
local read_version, write = link.read_version, link.write

-- Compute and store, with the lock held. -> true, value; or false, message, code
local function compute(conn, lock, full, words, fn)
  local ok, value = pcall(fn)
  if not ok then
    return false, "Function execution failed: " .. tostring(value)
  end
  local bytes, kind = core.encode(value)
  if not bytes then
    return false, "the function returned " .. (value == nil and "nothing" or kind), "refused"
  end
  local sent, message, code = write(conn, "GUARD", full, format("%d", lock.token), "VSET", full, bytes, "TYPE", kind,
    unpack(words))
  if not sent then
    return false, message, code
  end
  return true, value
end

-- -> true, value, whether it was computed here; or false, message, code
local function result_of(conn, full, words, fn)
  local ok, value, version = read_version(conn, full)
  if not ok then
    return false, value, version
  elseif value ~= nil then
    return true, value, false
  end
  local taken, lock, code = locks.acquire(conn, full, { wait_ms = locks.LOCK_TIMEOUT_DEFAULT * 1000, words = {} })
  if not taken then
    return false, lock, code
  end
  ok, value, version = read_version(conn, full) -- Of who held the lock before.
  local mine = ok and value == nil
  if mine then
    ok, value, version = compute(conn, lock, full, words, fn)
  end
  lock.release()
  if not ok then
    return false, value, version
  end
  return true, value, mine
end

local function bind_results(state, conn)
  ---@class holdfast.State
  local s = state

  --- The value of a key; when there is none, what fn returns, stored for `ttl` seconds. One worker computes it, the
  --- others wait for its value up to 30 seconds.
  ---@param key holdfast.Key up to 512 bytes with the namespace
  ---@param ttl number seconds
  ---@param fn fun(): holdfast.Value
  ---@return any value nil, message when fn raised; nil, message, code on failure
  ---@return string? message
  ---@return holdfast.Code? code
  function s.cached(key, ttl, fn)
    local full = check_key(conn, "cached", key)
    check_lock_name(conn, "cached", key)
    local ms = check_ttl("cached", ttl, 2)
    if type(fn) ~= "function" then
      bad_argument(3, "cached", expected("function", fn), 2)
    end
    local ok, value, code = result_of(conn, full, { "PX", ms }, fn)
    if not ok then
      return nil, value, code
    end
    return value
  end

  --- Run fn if nobody has run it for this key, and remember what it returned, for ever or for `ttl` seconds. What
  --- returns nothing is remembered as true. Who dies between fn's end and the storing leaves it undone: the next one
  --- runs it.
  ---@param key holdfast.Key up to 512 bytes with the namespace
  ---@param fn fun(): holdfast.Value?
  ---@param ttl? number seconds
  ---@return any value of the one run; nil, message when fn raised; nil, message, code on failure
  ---@return boolean|string|nil ran by this call? or message
  ---@return holdfast.Code? code
  function s.once(key, fn, ttl)
    local full = check_key(conn, "once", key)
    check_lock_name(conn, "once", key)
    if type(fn) ~= "function" then
      bad_argument(2, "once", expected("function", fn), 2)
    end
    local words = ttl ~= nil and { "PX", check_ttl("once", ttl, 3) } or {}
    local ok, value, ran = result_of(conn, full, words, function()
      local result = fn()
      return result == nil and true or result
    end)
    if not ok then
      return nil, value, ran
    end
    return value, ran
  end
end

return { bind = bind_results }
