--- state/keys.lua - many keys at once.
local check = require "state.check"
local link = require "state.link"

local ipairs = ipairs
local move, sort, unpack = table.move, table.sort, table.unpack
local gsub, sub = string.gsub, string.sub
local check_string, check_glob = check.string, check.glob
local read, write, decode = link.read, link.write, link.decode

local KEYS_PER_PIECE = 512 -- What list, get_all and clear name in one request.
local BYTES_PER_PIECE = 32 * 1024 * 1024 -- What list and get_all ask for in one: nodes and client stop at 64 MiB.

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

return { bind = bind_keys }
