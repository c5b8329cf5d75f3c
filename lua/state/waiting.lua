--- state/waiting.lua - waiting for what a key holds.
-- A look reads the key, with its type; when that is not what is waited for, WAITFOR answers as soon as the key has a
-- newer version, and the next look follows. A node that is cut off from the others hears of no change: so one WAITFOR
-- lasts WAITFOR_MS_MAX at most, and the look behind it finds a node that hears.
local core = require "state.core"
local check = require "state.check"
local link = require "state.link"

local type = type
local format = string.format
local bad_argument, check_key, wait_milliseconds = check.bad_argument, check.key, check.wait_milliseconds
local read_version, wait_read = link.read_version, link.wait_read

local TIMEOUT_DEFAULT = 30 -- Seconds.
local WAITFOR_MS_MAX = 10000

-- The second argument of wait -> a function that says whether a value is the one; or nil and the reason
local function wanted(value)
  if type(value) == "function" then
    return value
  end
  local bytes, kind = core.encode(value)
  if not bytes then
    return nil, value == nil and "value or function expected, got nil" or kind
  end
  return function(found)
    local found_bytes, found_kind = core.encode(found)
    return found_bytes == bytes and found_kind == kind
  end
end

-- -> true when it is time for another look; or false, message, code
local function sleep_until_newer(conn, full, version, ms)
  ms = ms < WAITFOR_MS_MAX and ms or WAITFOR_MS_MAX
  local ok, message, code = wait_read(conn, ms, "WAITFOR", full, "VERSION", format("%d", version), "TIMEOUT",
    format("%d", ms))
  if not ok and code ~= "unavailable" then -- Whether the cluster is there at all, the look finds out.
    return false, message, code
  end
  return true
end

local function bind_waiting(state, conn)
  ---@class holdfast.State
  local s = state

  --- Wait until the key holds a value, type and all, or one for which a function says so. The function is called in
  --- this client, with each new value that is seen: of two changes in short order perhaps only the second; never for a
  --- missing key. Nothing polls: the cluster tells of the change.
  ---@param key holdfast.Key
  ---@param value_or_predicate holdfast.Value|fun(value: any): any
  ---@param timeout? number seconds, 30 by default; 0 looks once
  ---@return any value nil, "timeout", "timeout" when it has not come; nil, message, code on failure
  ---@return string? message
  ---@return holdfast.Code? code
  function s.wait(key, value_or_predicate, timeout)
    local full = check_key(conn, "wait", key)
    local is_it, reason = wanted(value_or_predicate)
    if not is_it then
      bad_argument(2, "wait", reason, 2)
    end
    local ms, why = wait_milliseconds(timeout or TIMEOUT_DEFAULT)
    if not ms then
      bad_argument(3, "wait", why, 2)
    end
    local deadline, seen = core.now_ms() + ms, 0
    while true do
      local ok, value, version = read_version(conn, full)
      if not ok then
        return nil, value, version
      elseif value ~= nil and version ~= seen and is_it(value) then
        return value
      end
      local left = deadline - core.now_ms()
      if left <= 0 then
        return nil, "timeout", "timeout"
      end
      seen = version
      local message, code
      ok, message, code = sleep_until_newer(conn, full, version, left)
      if not ok then
        return nil, message, code
      end
    end
  end
end

return { bind = bind_waiting }
