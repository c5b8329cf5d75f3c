--- test_waiting_live.lua - wait, against a cluster.
local context = ...
local check = context.check
local state = require "state"

local run = string.format("waiting%d-%p", os.time(), {})

local function connect()
  return state.connect({ namespace = run })
end

local fork = context.fork_module()

local tests = {
  { "what is there already, and what does not come", function()
    local a <close> = connect()
    a.set("table", { 1, { deep = true } })
    check.returns({ { 1, { deep = true } } }, a.wait("table", { 1, { deep = true } }))
    a.set("no", false)
    check.returns({ false }, a.wait("no", false))
    a.set("text", "5")
    check.returns({ nil, "timeout", "timeout", n = 3 }, a.wait("text", 5, 0.05))
    check.returns({ nil, "timeout", "timeout", n = 3 }, a.wait("missing", function() return true end, 0))
    context.call("RPUSH", run .. ":list", "x")
    local value, _, code = a.wait("list", 1, 60)
    check.equal(value, nil)
    check.equal(code, "wrong_type")
  end },
}

-- Two that answer each other: waits that nothing wakes take longer than all may.
if fork then
  tests[#tests + 1] = { "a wait is woken by the change", function()
    local rounds = 20
    local pid = fork.fork()
    if pid == 0 then
      local ok, good = pcall(function()
        local b <close> = connect()
        for i = 1, rounds do
          if b.wait("ping", function(value) return value >= i end, 600) ~= i or not b.set("pong", i) then
            return false
          end
        end
        return true
      end)
      fork.leave(ok and good and 0 or 1)
    end
    local a <close> = connect()
    local started = os.time()
    for i = 1, rounds do
      check.returns({ true }, a.set("ping", i))
      check.returns({ i }, a.wait("pong", i, 600))
    end
    check.equal(fork.wait(pid), 0, "the other one")
    check.truthy(os.time() - started < rounds * 5, "all were woken in time")
  end }
end

return tests
