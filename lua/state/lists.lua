--- state/lists.lua - JSON arrays, changed at their ends.
local core = require "state.core"
local check = require "state.check"
local link = require "state.link"

local next, type = next, type
local remove = table.remove
local format = string.format
local bad_argument, check_key, check_value = check.bad_argument, check.key, check.value
local read, decode, change = link.read, link.decode, link.change

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

return { bind = bind_lists }
