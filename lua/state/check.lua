--- state/check.lua - what callers pass: checked before anything is sent.
local core = require "state.core"

local error, next, tonumber, tostring, type = error, next, tonumber, tostring, type
local format = string.format
local floor, huge, math_type = math.floor, math.huge, math.type

local KEY_BYTES_MAX = 64 * 1024
local TTL_MAX = 100 * 365 * 86400
local LOCK_NAME_BYTES_MAX = 512
local WAIT_MAX = 24 * 3600 -- Seconds.

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
  elseif not (seconds >= 0 and seconds <= WAIT_MAX) then
    return nil, "0 to 86400 seconds expected"
  end
  return floor(seconds * 1000 + 0.5)
end

return {
  KEY_BYTES_MAX = KEY_BYTES_MAX,
  bad_argument = bad_argument,
  expected = expected,
  key = check_key,
  value = check_value,
  string = check_string,
  milliseconds = milliseconds,
  ttl = check_ttl,
  fields = check_fields,
  set_options = check_set_options,
  delta = check_delta,
  glob = check_glob,
  lock_name = check_lock_name,
  wait_milliseconds = wait_milliseconds,
}
