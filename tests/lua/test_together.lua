--- test_together.lua - what transactions, elections, limits and shared results send, and how often; needs no cluster.
local context = ...
local check = context.check
local fake = require "fake"

local tests = {}
local function add(name, fn)
  tests[#tests + 1] = { name, fn }
end

-- The first words of all commands so far: scripts are long.
local function words(wire)
  local heads = {}
  for i, call in ipairs(wire.calls) do
    heads[i] = call:match("^%S+ %S+")
  end
  return heads
end

-- A client over the fake's table, where scripts and locks get the answers given, by the command's name.
local function answering(answers)
  local state, wire = fake.new()
  wire.answer = function(name)
    if answers[name] ~= nil then
      return true, answers[name]
    end
  end
  return state, wire
end

add("a transaction reads each key once and writes all in one", function()
  local state, wire = answering({ EVAL = 1 })
  check.returns({ true, 3 }, state.transaction(function(tx)
    tx.get("a")
    tx.get("a")
    tx.set("b", "x")
    tx.set("b", "yy", 1.5)
    tx.get("b")
    tx.delete("c")
    return 3
  end))
  check.equal(words(wire), { "r VGET", "w EVAL" })
  local _, tail = wire.calls[2]:match("^(w EVAL .*return 1) (.*)$")
  check.equal(tail, "3 a b c 1 0 5 VSET yy TYPE str PX 1500 0 DEL")
end)

add("a transaction that only reads writes nothing, one that does nothing asks nobody", function()
  local state, wire = answering({ EVAL_RO = 1 })
  check.returns({ true }, state.transaction(function(tx)
    tx.get("a")
  end))
  check.equal(words(wire), { "r VGET", "r EVAL_RO" })
  check.returns({ true }, state.transaction(function() end))
  check.equal(#wire.calls, 2)
end)

add("the largest value comes first", function()
  local state, wire = answering({ EVAL = 1 })
  state.transaction(function(tx)
    for i = 1, 9 do
      tx.set("k" .. i, ("x"):rep(i))
    end
  end)
  check.truthy(wire.calls[1]:find(" 9 k9 k8 k7 k6 k5 k4 k3 k2 k1 0 3 VSET xxxxxxxxx ", 1, true), wire.calls[1])
end)

add("a transaction in vain ends at its deadline", function()
  local state, wire = answering({ EVAL = 0 })
  local runs = 0
  check.returns({ false, "what the transaction read kept changing until the deadline", "timeout" },
    state.transaction(function(tx)
      runs = runs + 1
      tx.set("k", tx.get("k", 0) + 1)
    end))
  check.truthy(runs > 10 and runs < 100, "runs: " .. runs)
  check.equal(#wire.calls, 2 * runs)
end)

add("a read that fails ends a transaction, whatever the function makes of it", function()
  local state, wire = fake.new()
  wire.answer = function()
    return false, "no leader", "unavailable"
  end
  check.returns({ false, "no leader", "unavailable" }, state.transaction(function(tx)
    pcall(tx.get, "a")
    tx.set("b", 1)
    return "went on"
  end))
  check.equal(wire.calls, { "r VGET a" })
end)

add("too many keys are refused before anything is sent", function()
  local state, wire = answering({ EVAL = 1 })
  check.returns({ false, "a transaction has up to 1000 keys", "too_large" }, state.transaction(function(tx)
    for i = 1, 1001 do
      tx.set("k" .. i, i)
    end
  end))
  check.equal(wire.calls, {})
end)

add("limits and circuits are one command each", function()
  local state, wire = answering({ LIMIT = { 0, 0, 1500, 2000 }, BREAKER = { "open", "cooldown", 0, 2500 } })
  check.returns({ false, 0, 1.5 }, state.rate_limit("k", 10, 60))
  state.rate_limit("k", 10, 0.5, { algo = "gcra", cost = 2, burst = 20 })
  local circuit = state.circuit("c", { failures = 3, cooldown = 1.5 })
  check.equal(#wire.calls, 2)
  check.returns({ false, "open", 2.5 }, circuit.allow())
  check.returns({ "open", "cooldown" }, circuit.failure())
  check.equal(wire.calls, {
    "w LIMIT k ALGO window RATE 10 PER 60000",
    "w LIMIT k ALGO gcra RATE 10 PER 500 burst 20 cost 2",
    "w BREAKER c ALLOW failures 3 cooldown 1500",
    "w BREAKER c FAILURE failures 3 cooldown 1500",
  })
end)

add("a result that is there is one read", function()
  local state, wire = fake.new()
  state.set("k", 5)
  check.returns({ 5 }, state.cached("k", 60, error))
  check.returns({ 5, false }, state.once("k", error))
  check.returns({ 5 }, state.flag("k", 6))
  check.equal(words(wire), { "w VSET", "r VGET", "r VGET", "r VGET" })
end)

add("a result that is not there is computed under a lock", function()
  local state, wire = answering({ LOCK = 9, GUARD = 1 })
  check.returns({ { 1 }, true }, state.once("k", function()
    return { 1 }
  end, 2))
  check.equal(wire.calls, {
    "r VGET k",
    "w LOCK ACQUIRE k - WAIT 30000",
    "r VGET k",
    "w GUARD k 9 VSET k [1] TYPE json PX 2000",
    "w LOCK RELEASE k - TOKEN 9",
  })
end)

add("who wins an election says its id under its token", function()
  local state, wire = answering({ LOCK = 9, GUARD = 1 })
  local election = state.election("e", "me")
  check.truthy(election.campaign(5))
  check.equal(election.epoch(), 9)
  check.truthy(election.campaign(5)) -- It leads already.
  check.equal(wire.calls, {
    "w LOCK ACQUIRE e - WAIT 5000",
    "w GUARD e 9 VSET e:leader {\"epoch\":9,\"id\":\"me\"} TYPE json",
  })
  wire.session = 8
  check.equal(election.epoch(), nil)
  check.equal(election.is_leader(), false)
end)

add("any call notices a lost lock, before it is sent", function()
  local state, wire = answering({ LOCK = 9 })
  local _, lock = state.try_lock("l")
  local calls_before
  lock.on_lost(function()
    calls_before = #wire.calls
  end)
  state.get("k")
  check.equal(calls_before, nil)
  wire.session = 8
  state.get("k")
  check.equal(calls_before, 2)
  check.equal(#wire.calls, 3)
end)

add("a lease that ended by this clock is given back before the next lock", function()
  local state, wire = answering({ LOCK = 9 })
  state.try_lock("l", 2)
  wire.now_ms = 2000
  state.try_lock("other")
  check.equal(wire.calls, {
    "w LOCK ACQUIRE l - TTL 2000",
    "w LOCK RELEASE l - TOKEN 9",
    "w LOCK ACQUIRE other -",
  })
end)

-- A rock that lacks a file builds, and fails where it is installed.
add("the rockspec names every page and source", function()
  local top, spec = context.here .. "../../", {}
  assert(loadfile(top .. "lua/holdfast-state-scm-1.rockspec", "t", spec))()
  local named = {}
  for name, module in pairs(spec.build.modules) do
    for _, file in ipairs(type(module) == "table" and module.sources or { module }) do
      check.truthy(io.open(top .. file), file):close()
      named[file] = name
    end
  end
  local listed = assert(io.popen("cd '" .. top .. "' && ls lua/*.c lua/state/*.lua node/client/*.c"))
  for file in listed:lines() do
    check.truthy(named[file], file .. " in the rockspec")
  end
  listed:close()
end)

return tests
