--- fake.lua - a client over a cluster that lives in a table, to see what goes over the wire and what failures become.
-- local state, wire = fake.new([environment variables]): wire.calls are the commands so far, each as one text;
-- wire.answer(words) may return an answer (true, reply; or false, message, code) instead of the table's.
local real = require "state.core"

local fake = {}

local commands = {}

local function vget(data, key)
  local row = data.rows[key]
  return row and { row.bytes, row.kind, row.version, -1 } or nil
end

function commands.VGET(data, key)
  return vget(data, key)
end

function commands.VMGET(data, ...)
  local answers = {}
  for i, key in ipairs({ ... }) do
    answers[i] = vget(data, key) or false
  end
  return answers
end

function commands.VSET(data, key, bytes, _, kind, condition, version)
  local row = data.rows[key]
  if condition == "NX" and row or condition == "XX" and not row then
    return nil
  elseif condition == "IFVER" and (row and row.version or 0) ~= math.tointeger(tonumber(version)) then
    return nil
  end
  data.revision = data.revision + 1
  data.rows[key] = { bytes = bytes, kind = kind, version = data.revision }
  return data.revision
end

function commands.DEL(data, ...)
  local count = 0
  for _, key in ipairs({ ... }) do
    count = count + (data.rows[key] and 1 or 0)
    data.rows[key] = nil
  end
  return count
end

function commands.EXISTS(data, key)
  return data.rows[key] and 1 or 0
end

function commands.KEYS(data)
  local keys = {}
  for key in next, data.rows do
    keys[#keys + 1] = key
  end
  return keys
end

local function handle_new(wire)
  local data = { rows = {}, revision = 0 }
  local function call(is_write, _, name, ...)
    wire.calls[#wire.calls + 1] = (is_write and "w " or "r ") .. table.concat({ name, ... }, " ")
    if wire.answer then
      local ok, reply, code = wire.answer(name, ...)
      if ok ~= nil then
        return ok, reply, code
      end
    end
    return true, assert(commands[name], name)(data, ...)
  end
  return {
    read = function(...) return call(false, ...) end,
    write = function(...) return call(true, ...) end,
    wait = function(handle, ms, ...)
      wire.waited = ms
      return call(true, handle, ...)
    end,
    wait_read = function(handle, ms, ...)
      wire.waited = ms
      return call(false, handle, ...)
    end,
    session = function() return wire.session end,
    alive = function(_, session) return session == wire.session end,
    lengths = function(_, ...)
      local lengths = {}
      for i, key in ipairs({ ... }) do
        lengths[i] = data.rows[key] and #data.rows[key].bytes or 0
      end
      return true, lengths
    end,
    close = function() wire.closed = wire.closed + 1 end,
    nodes = function() return { "n1:1", "n2:2" } end,
  }
end

function fake.new(environment)
  local wire = { calls = {}, opened = {}, closed = 0, now_ms = 0, session = 7 }
  local core = setmetatable({
    open = function(options)
      wire.opened[#wire.opened + 1] = options
      if options.nodes == "bad" then
        return false, "nodes: a list of host:port expected", "refused"
      end
      return handle_new(wire)
    end,
    now_ms = function() return wire.now_ms end,
    pause = function(ms) wire.now_ms = wire.now_ms + ms end,
  }, { __index = real })
  local allowed = { os = setmetatable({ getenv = function(name)
    return environment and environment[name]
  end }, { __index = os }) }
  local loaded, strict = { ["state.core"] = core }, nil
  function allowed.require(name)
    if loaded[name] == nil then
      loaded[name] = assert(loadfile(assert(package.searchpath(name, package.path)), "t", strict))()
    end
    return loaded[name]
  end
  strict = setmetatable(allowed, {
    __index = function(_, name)
      return _G[name] ~= nil and _G[name] or error("reads the global " .. tostring(name), 2)
    end,
    __newindex = function(_, name)
      error("sets the global " .. tostring(name), 2)
    end,
  })
  return allowed.require("state"), wire
end

return fake
