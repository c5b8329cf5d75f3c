--- state/watching.lua - every change of keys below a prefix, in order.
-- HISTORY answers from the node that is asked. One that is cut off from the others hears of nothing: so a question lasts
-- BLOCK_MS_MAX at most, and after an empty answer a read finds a node that hears.
local core = require "state.core"
local check = require "state.check"
local link = require "state.link"

local ipairs, type = ipairs, type
local format, sub = string.format, string.sub
local math_type = math.type
local bad_argument, expected, check_fields, check_string = check.bad_argument, check.expected, check.fields, check.string
local wait_milliseconds = check.wait_milliseconds
local read, wait_read = link.read, link.wait_read

local BLOCK_MS_MAX = 10000
local WATCH_OPTIONS = { from = true, timeout = true }

---@class holdfast.Change
---@field key? string nil when all keys are gone
---@field event string as Redis's keyspace notifications call it: "set", "del", "expired", "incrby", ...; "flushall"
---@field version integer

-- The third argument of watch -> the version to go on after, milliseconds; each nil when not given. Or nil, nil, reason
local function watch_options(options)
  local from, ms, why = options.from, nil, nil
  if from ~= nil and (math_type(from) ~= "integer" or from < 0) then
    return nil, nil, "from: a version (integer) expected"
  end
  if options.timeout ~= nil then
    ms, why = wait_milliseconds(options.timeout)
    if not ms then
      return nil, nil, "timeout: " .. why
    end
  end
  return from, ms
end

-- The changes from version `next` on, waiting for them up to `ms`. -> true, changes, next; or false, message, code
local function changes_from(conn, prefix, next, ms)
  local ok, answer, code
  if ms > 0 then
    ms = ms < BLOCK_MS_MAX and ms or BLOCK_MS_MAX
    ok, answer, code = wait_read(conn, ms, "HISTORY", prefix, "FROM", format("%d", next), "BLOCK", format("%d", ms))
  else
    ok, answer, code = read(conn, "HISTORY", prefix, "FROM", format("%d", next))
  end
  if not ok then
    return false, answer, code
  end
  return true, answer[1], answer[2]
end

-- One after the other, until fn has enough. -> the version of the last one it had, or nil when it wants more
local function hand_out(conn, changes, fn)
  for _, change in ipairs(changes) do
    local version, event, key = change[1], change[2], change[3]
    local name = event ~= "flushall" and sub(key, #conn.prefix + 1) or nil
    if fn({ key = name, event = event, version = version }) == false then
      return version
    end
  end
end

local function bind_watching(state, conn)
  ---@class holdfast.State
  local s = state

  --- Call `fn` with every change of keys that begin with `prefix`, once and in order, those that end by themselves
  --- included, until fn returns false or the time is over. Without `from` it begins now; with it, behind that version:
  --- the one returned goes on where this watch ended. "refused": the cluster does not know all changes since `from` any
  --- more.
  ---@param prefix string "" for all keys
  ---@param fn fun(change: holdfast.Change): boolean?
  ---@param options? { from: integer?, timeout: number? } timeout in seconds; for ever without it
  ---@return integer? version behind which there is more to hear; nil on failure
  ---@return string? message
  ---@return holdfast.Code? code
  ---@return integer? version on failure, if anything was heard by then
  function s.watch(prefix, fn, options)
    local full = conn.prefix .. check_string("watch", prefix, 1)
    if type(fn) ~= "function" then
      bad_argument(2, "watch", expected("function", fn), 2)
    elseif options ~= nil and type(options) ~= "table" then
      bad_argument(3, "watch", expected("options (table)", options), 2)
    end
    check_fields("watch", options or {}, 3, WATCH_OPTIONS)
    local from, ms, why = watch_options(options or {})
    if why then
      bad_argument(3, "watch", why, 2)
    end
    local deadline = ms and core.now_ms() + ms
    local next, left = from and from + 1 or 0, 0
    while true do
      local ok, changes, after = changes_from(conn, full, next, left)
      if ok and #changes == 0 and left > 0 then
        local there, message, code = read(conn, "EXISTS", full .. "x")
        if not there then
          ok, changes, after = false, message, code
        end
      end
      if not ok then
        return nil, changes, after, next > 0 and next - 1 or nil
      end
      local last = hand_out(conn, changes, fn)
      if last then
        return last
      end
      next = after
      left = deadline and deadline - core.now_ms() or BLOCK_MS_MAX
      if left <= 0 then
        return next - 1
      end
    end
  end
end

return { bind = bind_watching }
