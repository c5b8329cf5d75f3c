--- state.lua - `require "state"`: what workers on many machines remember together.
--
-- The module table is itself a client that connects at its first call (see state.connect for others):
--
--     local state = require "state"
--     state.set("last_version", "v1.2.3")
--     local n = state.increment("workers_completed")
--
-- Conventions
--  * A caller's mistake raises "bad argument #n to 'name' (...)", before anything is sent.
--  * The world's failures return the call's sentinel (nil, false, -1 or 0: each call says which), a message and a code:
--      unavailable  no node would take it within the deadline: nothing was done
--      unknown      a write was sent, and its session was lost, or no node could tell what became of it until the deadline:
--                   it may or may not have been done
--      timeout      others kept changing the key, or holding the lock, until the deadline: nothing was done
--      denied       user or password missing or wrong
--      wrong_type   the stored value is no number, no list, or nothing this client can read
--      too_large    key, value or request is larger than the cluster takes
--      refused      a precondition did not hold; a lock is not free; an increment would overflow
--      lost         the lock, or the session that held it, is gone
--      session_expired  the session ended while a call waited
--      protocol     a node answered what this client does not understand
--    A missing key is no failure: get, get_with_version and set_ttl answer it with a message and no code.
--  * Durations are seconds, fractions allowed, kept as milliseconds.
--  * Keys are non-empty strings of up to 64 KiB; a number is turned into a string as Lua's `..` does.
--  * Values keep their Lua type: string, integer, float, boolean, table (as JSON; string keys or a sequence, not both).
--    A JSON null that another client stored inside a table reads as state.null.
--  * Read-change-write calls (changed, atomic_update, list_push, list_pop) write only if nobody else wrote in between,
--    try again until the deadline otherwise, and keep the key's TTL.
--
--  * Writes go through a session under serial numbers, so one that is sent again after a lost connection is still done
--    once and answers its first answer. The session opens at the first write and is kept alive by a thread of the C core.

local core = require "state.core"
local check = require "state.check"

local ipairs, next, pairs, setmetatable, tostring, type = ipairs, next, pairs, setmetatable, tostring, type
local concat = table.concat
local format = string.format
local floor = math.floor
local getenv = os.getenv
local bad_argument, expected, KEY_BYTES_MAX = check.bad_argument, check.expected, check.KEY_BYTES_MAX

local TIMEOUT_DEFAULT = 5 -- Seconds for one call, retries included.
local TIMEOUT_MAX = 24 * 3600
local SESSION_TTL_DEFAULT, SESSION_TTL_MIN, SESSION_TTL_MAX = 10, 0.1, 24 * 3600 -- Seconds without a sign of life.

-- Each page adds its calls to a client.
local PAGES = {
  "values",
  "changes",
  "counters",
  "lists",
  "ttl",
  "waiting",
  "watching",
  "keys",
  "transaction",
  "locks",
  "semaphores",
  "elections",
  "gates",
  "limits",
  "results",
  "client",
}

local binds = {}
for i, page in ipairs(PAGES) do
  binds[i] = require("state." .. page).bind
end

local function bind(state, conn)
  for _, bind_page in ipairs(binds) do
    bind_page(state, conn)
  end
  state.null = core.null
  return state
end

---@class holdfast.Options
---@field nodes? string|string[] "host:port,..."; default: HOLDFAST_NODES, else ports 7401 to 7403 of this host
---@field namespace? string goes before every key with a colon; default: HOLDFAST_NAMESPACE; "" for none
---@field timeout? number seconds for one call, retries included; 5 by default
---@field session_ttl? number seconds without a sign of life after which the cluster ends this client's session; 10 by default
---@field user? string default: HOLDFAST_USER
---@field password? string default: HOLDFAST_PASSWORD

local CONNECT_OPTIONS = {
  nodes = "string",
  namespace = "string",
  timeout = "number",
  session_ttl = "number",
  user = "string",
  password = "string",
}

local function prefix_of(namespace)
  return (namespace == nil or namespace == "") and "" or namespace .. ":"
end

-- The first fault of connect's options, or nil.
local function options_fault(options)
  for name, value in next, options do
    local kind = CONNECT_OPTIONS[name]
    if not kind then
      return format("option '%s' is not one of this version", tostring(name))
    elseif type(value) ~= kind then
      return format("%s: %s", name, expected(kind, value))
    end
  end
  local timeout = options.timeout or TIMEOUT_DEFAULT
  if not (timeout >= 0.001 and timeout <= TIMEOUT_MAX) then
    return "timeout: 0.001 to 86400 seconds expected"
  end
  local session_ttl = options.session_ttl or SESSION_TTL_DEFAULT
  if not (session_ttl >= SESSION_TTL_MIN and session_ttl <= SESSION_TTL_MAX) then
    return "session_ttl: 0.1 to 86400 seconds expected"
  elseif #(options.namespace or "") > KEY_BYTES_MAX // 2 then
    return "namespace: too long"
  end
end

local function conn_new(options)
  local timeout_ms = floor((options.timeout or TIMEOUT_DEFAULT) * 1000)
  return {
    options = {
      nodes = options.nodes,
      user = options.user,
      password = options.password,
      timeout_ms = timeout_ms,
      session_ttl_ms = floor((options.session_ttl or SESSION_TTL_DEFAULT) * 1000),
    },
    prefix = prefix_of(options.namespace or getenv("HOLDFAST_NAMESPACE")),
    timeout_ms = timeout_ms,
    -- Credentials must not go over a plain connection where TLS was asked for.
    refusal = getenv("HOLDFAST_CA") and "HOLDFAST_CA is set, and this version has no TLS" or nil,
  }
end

-- `local s <close> = state.connect{}` works too.
local client_meta = {
  __name = "holdfast.State",
  __close = function(client)
    client.close()
  end,
}

local module_conn = conn_new({})
module_conn.reopens = true

---@class holdfast.State
local module = bind({}, module_conn)

--- A client of its own, with the same calls (`local s = state.connect{...}; s.get("k")`). Connects at its first call.
---@param options? holdfast.Options
---@return holdfast.State client
function module.connect(options)
  if options ~= nil and type(options) ~= "table" then
    bad_argument(1, "connect", expected("options (table)", options), 2)
  end
  local given = {}
  for name, value in pairs(options or {}) do
    given[name] = value
  end
  if type(given.nodes) == "table" then
    given.nodes = concat(given.nodes, ",")
  end
  local fault = options_fault(given)
  if fault then
    bad_argument(1, "connect", fault, 2)
  end
  local conn = conn_new(given)
  local handle, message = core.open(conn.options)
  if not handle then
    bad_argument(1, "connect", message, 2)
  end
  conn.handle = not conn.refusal and handle or nil
  return setmetatable(bind({}, conn), client_meta)
end

return module
