--- state/changes.lua - changes that depend on what is there.
local core = require "state.core"
local check = require "state.check"
local link = require "state.link"

local select, type = select, type
local unpack = table.unpack
local bad_argument, expected, check_key = check.bad_argument, check.expected, check.key
local check_value, milliseconds, check_fields = check.value, check.milliseconds, check.fields
local read, write, change = link.read, link.write, link.change

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

return { bind = bind_changes }
