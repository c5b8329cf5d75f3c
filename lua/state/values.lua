--- state/values.lua - values by their keys: set, get, delete, exists.
local check = require "state.check"
local link = require "state.link"

local unpack = table.unpack
local check_key, check_value, check_ttl, check_set_options = check.key, check.value, check.ttl, check.set_options
local read, write, decode, not_found = link.read, link.write, link.decode, link.not_found

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

  --- A feature flag: what the key holds, else the default; the default too when the cluster cannot be asked.
  ---@param name holdfast.Key
  ---@param default any
  ---@return any value
  ---@return string? message
  ---@return holdfast.Code? code
  function s.flag(name, default)
    local ok, answer, code = read(conn, "VGET", check_key(conn, "flag", name))
    if not ok then
      return default, answer, code
    elseif not answer then
      return default
    end
    local value, message, why = decode(answer, name)
    if value == nil then
      return default, message, why
    end
    return value
  end
end

return { bind = bind_values }
