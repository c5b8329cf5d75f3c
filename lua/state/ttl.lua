--- state/ttl.lua - time to live.
local check = require "state.check"
local link = require "state.link"

local type = type
local check_key, check_ttl = check.key, check.ttl
local read, write = link.read, link.write

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

return { bind = bind_ttl }
