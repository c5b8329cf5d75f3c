--- test_watching_live.lua - watch, against a cluster.
local context = ...
local check = context.check
local state = require "state"

local run = string.format("watching%d-%p", os.time(), {})

local function connect()
  return state.connect({ namespace = run })
end

return {
  { "every change, the ones that were and the one to come", function()
    local a <close> = connect()
    local start = a.watch("k", print, { timeout = 0 })
    check.equal(math.type(start), "integer")
    a.set("k:1", "x")
    a.increment("k:2")
    a.set("other", "x")
    a.delete("k:1")
    a.set_with_ttl("k:3", "x", 0.3)
    local heard, versions = {}, {}
    local last = a.watch("k:", function(change)
      heard[#heard + 1] = change.event .. " " .. change.key
      versions[#versions + 1] = change.version
      return change.event ~= "expired"
    end, { from = start, timeout = 60 })
    check.equal(heard, { "set k:1", "incrby k:2", "del k:1", "set k:3", "expire k:3", "expired k:3" })
    check.equal(last, versions[#versions])
    a.set("k:4", "x")
    check.truthy(a.watch("k:", function(change)
      heard[#heard + 1] = change.event .. " " .. change.key
      return false
    end, { from = last, timeout = 60 }) > last)
    check.equal(heard[#heard], "set k:4")
  end },
  { "the end of the time, and a past that nobody knows", function()
    local a <close> = connect()
    local start = a.watch("", function() return true end, { timeout = 0 })
    check.truthy(a.watch("none", print, { from = start, timeout = 0.05 }) >= start)
    local version, _, code = a.watch("none", print, { from = 0, timeout = 0 })
    check.truthy(version or code == "refused", code) -- As long as the cluster is young it knows all.
  end },
}
