--- test_waiting.lua - what wait sends, and how often; needs no cluster.
local context = ...
local check = context.check
local fake = require "fake"

local tests = {}
local function add(name, fn)
  tests[#tests + 1] = { name, fn }
end

-- A client over the fake's table, where each WAITFOR takes the next of `steps`: a function that changes what there is
-- and may answer in its place.
local function stepping(steps)
  local state, wire = fake.new()
  local n = 0
  wire.answer = function(name)
    if name == "WAITFOR" then
      n = n + 1
      local ok, message, code = assert(steps[n], "one WAITFOR too many")(state, wire)
      if ok ~= nil then
        return ok, message, code
      end
      return true, { "bytes", 1 }
    end
  end
  return state, wire
end

add("what is there already is one read", function()
  local state, wire = fake.new()
  state.set("k", "v")
  check.returns({ "v" }, state.wait("k", "v"))
  check.equal(wire.calls[2], "r VGET k")
  check.equal(#wire.calls, 2)
end)

add("each new version is looked at once, and the type counts", function()
  local state, wire = stepping({
    function(s) s.set("k", "5") end,
    function(s) s.set("k", 5.0) end,
    function(s) s.set("k", 5) end,
  })
  check.returns({ 5 }, state.wait("k", 5, 60))
  local sent = {}
  for _, call in ipairs(wire.calls) do
    sent[#sent + 1] = call:match("^r .*")
  end
  check.equal(sent, {
    "r VGET k", "r WAITFOR k VERSION 0 TIMEOUT 10000",
    "r VGET k", "r WAITFOR k VERSION 1 TIMEOUT 10000",
    "r VGET k", "r WAITFOR k VERSION 2 TIMEOUT 10000",
    "r VGET k",
  })
end)

add("a function sees each version once, and false is a value", function()
  local state = stepping({
    function(s) s.set("k", 1) end,
    function() return true, nil end, -- Its time is over: no new version.
    function(s) s.delete("k") end,
    function(s) s.set("k", false) end,
  })
  local seen = {}
  check.returns({ false }, state.wait("k", function(value)
    seen[#seen + 1] = value
    return value == false
  end))
  check.equal(seen, { 1, false })
  check.raises("my own", state.wait, "k", function()
    error("my own")
  end)
end)

add("a wait ends at its deadline with a last look", function()
  local state, wire = stepping({
    function(_, w) w.now_ms = 10000 return true, nil end,
    function(_, w) w.now_ms = 12500 return true, nil end,
  })
  check.returns({ nil, "timeout", "timeout", n = 3 }, state.wait("k", 1, 12.5))
  check.equal(wire.waited, 2500)
  check.equal(wire.calls[#wire.calls], "r VGET k")
  local once = stepping({})
  check.returns({ nil, "timeout", "timeout", n = 3 }, once.wait("k", 1, 0))
end)

add("a node that is gone is no reason to give up, a refusal is", function()
  local state = stepping({
    function(s) s.set("k", 1) return false, "no node", "unavailable" end,
    function() return false, "NOPERM", "denied" end,
  })
  check.returns({ 1 }, state.wait("k", 1))
  check.returns({ nil, "NOPERM", "denied", n = 3 }, state.wait("k", 2))
end)

return tests
