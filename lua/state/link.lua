--- state/link.lua - the connection under a client: one request and its answer, and writes that depend on a version.
local core = require "state.core"

local error = error
local format, sub = string.format, string.sub

local PAUSE_FIRST_MS, PAUSE_MAX_MS = 2, 128 -- Upper bounds of the random pauses between two tries.

-- A conn: `options` for core.open, `prefix` before every key, `handle` once open; `closed` for good, if ever.
local function conn_open(conn)
  if conn.closed then
    error("the client is closed", 5) -- In the line of the public call.
  elseif conn.refusal then
    return false, conn.refusal, "unavailable"
  end
  local handle, message = core.open(conn.options)
  if not handle then
    return false, message, "unavailable"
  end
  conn.handle = handle
  return true
end

-- Before each request: open the connection, and see whether locks were lost since the last one (locks.lua).
-- -> true; or false, message, code
local function ready(conn)
  if not conn.handle then
    local ok, message, code = conn_open(conn)
    if not ok then
      return false, message, code
    end
  end
  conn.notice_losses()
  return true
end

-- -> true, reply; or false, message, code
local function read(conn, ...)
  local ok, message, code = ready(conn)
  if not ok then
    return false, message, code
  end
  return conn.handle:read(...)
end

-- As read, done once however often it has to be sent.
local function write(conn, ...)
  local ok, message, code = ready(conn)
  if not ok then
    return false, message, code
  end
  return conn.handle:write(...)
end

-- As write, for what the cluster may answer only after `ms` milliseconds.
local function wait(conn, ms, ...)
  local ok, message, code = ready(conn)
  if not ok then
    return false, message, code
  end
  return conn.handle:wait(ms, ...)
end

-- As wait, for what changes nothing.
local function wait_read(conn, ms, ...)
  local ok, message, code = ready(conn)
  if not ok then
    return false, message, code
  end
  return conn.handle:wait_read(ms, ...)
end

-- An answer of VGET -> value; or nil, message, code
local function decode(answer, key)
  local value, why = core.decode(answer[1], answer[2])
  if value == nil then
    return nil, format("key %s holds %s", key, why), "wrong_type"
  end
  return value
end

local function not_found(key)
  return nil, "key not found: " .. key
end

-- -> true, value, version; version 0 and no value for a missing key; or false, message, code
local function read_version(conn, key)
  local ok, answer, code = read(conn, "VGET", key)
  if not ok then
    return false, answer, code
  elseif not answer then
    return true, nil, 0
  end
  local value, message, why = decode(answer, sub(key, #conn.prefix + 1))
  if value == nil then
    return false, message, why
  end
  return true, value, answer[3]
end

-- -> true, and whether it was written; or false, message, code
local function write_version(conn, key, version, bytes, kind)
  local ok, written, code
  if version == 0 then
    ok, written, code = write(conn, "VSET", key, bytes, "TYPE", kind, "NX")
  else
    ok, written, code = write(conn, "VSET", key, bytes, "TYPE", kind, "IFVER", format("%d", version), "KEEPTTL")
  end
  if not ok then
    return false, written, code
  end
  return true, written ~= nil
end

-- Read the key, let `step(value)` decide, write what it returns if nobody wrote in between; until the deadline.
-- step gets nil for a missing key and returns bytes and type, or nothing to leave the key alone. It may run often.
-- -> true; or false, message, code
local function change(conn, key, step)
  local deadline, pause = core.now_ms() + conn.timeout_ms, PAUSE_FIRST_MS
  repeat
    local ok, value, version = read_version(conn, key)
    if not ok then
      return false, value, version
    end
    local bytes, kind = step(value)
    if not bytes then
      return true
    end
    local written, code
    ok, written, code = write_version(conn, key, version, bytes, kind)
    if not ok then
      return false, written, code
    elseif written then
      return true
    end
    core.pause(pause)
    pause = pause * 2 < PAUSE_MAX_MS and pause * 2 or PAUSE_MAX_MS
  until core.now_ms() >= deadline
  return false, format("key %s kept changing until the deadline", sub(key, #conn.prefix + 1)), "timeout"
end

return {
  read = read,
  write = write,
  wait = wait,
  wait_read = wait_read,
  decode = decode,
  not_found = not_found,
  read_version = read_version,
  change = change,
}
