--- state/client.lua - the client itself: what the cluster says of itself, and the end.
local link = require "state.link"

local tonumber = tonumber
local gmatch = string.gmatch
local floor = math.floor
local read = link.read

---@class holdfast.Stats
---@field total_keys integer in the whole cluster, whatever the namespace
---@field expired_keys integer that have ended by their TTL
---@field active_locks integer
---@field db_size_bytes integer of the state on disk of the node that answered
---@field total_size integer the same as db_size_bytes
---@field backend string
---@field leader string host:port, "" when unknown
---@field nodes string[] host:port, as configured
---@field revision integer of the last change of all

-- INFO's "name:value" lines.
local function parse_info(text)
  local info = {}
  for name, value in gmatch(text, "([%w_]+):([^\r\n]*)") do
    info[name] = value
  end
  return info
end

local function info_integer(info, name)
  return floor(tonumber(info[name]) or 0)
end

local function bind_client(state, conn)
  ---@class holdfast.State
  local s = state

  --- What the cluster says about itself.
  ---@return holdfast.Stats? stats
  ---@return string? message
  ---@return holdfast.Code? code
  function s.stats()
    local ok, total, code = read(conn, "DBSIZE")
    if not ok then
      return nil, total, code
    end
    local text
    ok, text, code = read(conn, "INFO")
    if not ok then
      return nil, text, code
    end
    local info = parse_info(text)
    local size = info_integer(info, "file_bytes")
    return {
      total_keys = total,
      expired_keys = info_integer(info, "expired_keys"),
      active_locks = info_integer(info, "active_locks"),
      db_size_bytes = size,
      total_size = size,
      backend = "holdfast",
      leader = info.leader_client_address or "",
      nodes = conn.handle:nodes(),
      revision = info_integer(info, "revision"),
    }
  end

  --- Close the connection and end the session, and with it all that it holds. A client of state.connect is then closed
  --- for good and raises when it is used again; the module's own connection opens again at the next call.
  function s.close()
    if conn.handle then
      conn.handle:close()
      conn.handle = nil
    end
    conn.closed = conn.closed or not conn.reopens
  end
end

return { bind = bind_client }
