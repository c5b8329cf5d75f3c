--- state/counters.lua - numbers and strings that grow in one step.
local core = require "state.core"
local check = require "state.check"
local link = require "state.link"

local tonumber = tonumber
local math_type, mininteger, tointeger = math.type, math.mininteger, math.tointeger
local bad_argument, check_key, check_string, check_delta = check.bad_argument, check.key, check.string, check.delta
local read, write, decode = link.read, link.write, link.decode

-- KEYS: a hash. ARGV: a value.
local AVERAGE = [[
redis.call('HINCRBY', KEYS[1], 'count', 1)
redis.call('HINCRBYFLOAT', KEYS[1], 'sum', ARGV[1])
return redis.call('HMGET', KEYS[1], 'count', 'sum')]]

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

  --- Add a value to a running mean, in one step. The key is a hash of count and sum. Without a value: the mean so far.
  ---@param key holdfast.Key
  ---@param value? number
  ---@return number? mean nil on failure, and when there is no value yet
  ---@return integer|string count or message
  ---@return holdfast.Code? code
  function s.average(key, value)
    local full = check_key(conn, "average", key)
    local number = value ~= nil and core.encode(check_delta("average", value, 2) + 0.0)
    local ok, answer, code
    if number then
      ok, answer, code = write(conn, "EVAL", AVERAGE, "1", full, number)
    else
      ok, answer, code = read(conn, "HMGET", full, "count", "sum")
    end
    if not ok then
      return nil, answer, code
    end
    local count = tointeger(tonumber(answer[1] or 0))
    if count == 0 then
      return nil, 0
    end
    return tonumber(answer[2]) / count, count
  end
end

return { bind = bind_counters }
