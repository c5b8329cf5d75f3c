--- test_together_live.lua - transactions, elections, latches, barriers, limits and shared results, against a cluster.
local context = ...
local check = context.check
local state = require "state"

local run = string.format("together%d-%p", os.time(), {})

local function connect(options)
  options = options or {}
  options.namespace = run
  return state.connect(options)
end

local fork = context.fork_module()

-- Each function in a child of its own; all must return true.
local function in_children(...)
  local children = {}
  for i, fn in ipairs({ ... }) do
    local pid = fork.fork()
    if pid == 0 then
      local ok, good = pcall(fn)
      fork.leave(ok and good and 0 or 1)
    end
    children[i] = pid
  end
  return function()
    for i, pid in ipairs(children) do
      check.equal(fork.wait(pid), 0, "child " .. i)
    end
  end
end

local function many(n, fn)
  local fns = {}
  for i = 1, n do
    fns[i] = fn
  end
  return table.unpack(fns)
end

local function until_true(condition, what)
  local stop = os.time() + 30
  while not condition() do
    check.truthy(os.time() < stop, what)
    state.exists("until_true")
  end
end

local tests = {
  { "a transaction reads its own writes and does all of them", function()
    local a <close> = connect()
    a.set("gone", 1)
    a.set("n", 5, 60)
    check.returns({ true, "done", nil, 3, n = 4 }, a.transaction(function(tx)
      check.equal(tx.get("missing", "default"), "default")
      check.equal(tx.exists("gone"), true)
      tx.delete("gone")
      check.equal(tx.get("gone"), nil)
      tx.set("table", { 1, 2, { deep = true } })
      tx.set("false", false, 60)
      check.equal(tx.get("false", "default"), false)
      check.equal(tx.increment("n", 2), 7)
      check.equal(tx.increment("n"), 8)
      check.equal(tx.increment("float", 0.5), 0.5)
      return "done", nil, 3
    end))
    check.equal(a.exists("gone"), false)
    check.returns({ { 1, 2, { deep = true } } }, a.get("table"))
    check.returns({ 8 }, a.get("n"))
    check.returns({ 0.5 }, a.get("float"))
    check.truthy(a.get_ttl("n") > 30 and a.get_ttl("false") > 30, "the TTLs")
    check.equal(a.get_ttl("table"), -1)
    check.returns({ true, 8 }, a.transaction(function(tx)
      return tx.get("n")
    end))
  end },
  { "a transaction whose reads have changed runs again", function()
    local a <close> = connect()
    local b <close> = connect()
    a.set("x", 1)
    local runs = 0
    check.returns({ true }, a.transaction(function(tx)
      runs = runs + 1
      local x = tx.get("x")
      if runs == 1 then
        b.set("x", 10)
      end
      tx.set("y", x + 1)
    end))
    check.equal(runs, 2)
    check.returns({ 11 }, a.get("y"))
    check.returns({ true, 0 }, a.transaction(function(tx) -- Reads alone, too.
      runs = runs + 1
      local x = tx.get("x")
      if runs == 3 then
        b.set("x", 11)
      end
      return x - tx.get("x") + (runs == 4 and 0 or 1)
    end))
    check.equal(runs, 4)
  end },
  { "a transaction that is given up does nothing", function()
    local a <close> = connect()
    check.returns({ false, "no", "refused" }, a.transaction(function(tx)
      tx.set("given-up", 1)
      tx.abort("no")
    end))
    check.raises("my own", a.transaction, function(tx)
      tx.set("given-up", 1)
      error("my own")
    end)
    a.set("text", "no number")
    local ok, message, code = a.transaction(function(tx)
      tx.set("given-up", 1)
      pcall(tx.increment, "text") -- Cannot be hidden.
    end)
    check.returns({ false, "key text holds no number", "wrong_type" }, ok, message, code)
    a.set("large", math.maxinteger)
    ok, message, code = a.transaction(function(tx)
      tx.increment("large")
    end)
    check.returns({ false, "the increment would overflow", "refused" }, ok, message, code)
    ok, message, code = a.transaction(function(tx)
      tx.set("given-up", 1)
      tx.set("huge", ("x"):rep(9 * 1024 * 1024))
    end)
    check.equal(ok, false)
    check.equal(a.exists("given-up"), false)
    check.raises("bad argument #1 to 'transaction'", a.transaction)
    check.raises("bad argument #2 to 'set'", a.transaction, function(tx)
      tx.set("k", nil)
    end)
  end },
  { "an election has one leader, and who follows has a higher epoch", function()
    local a, b <close> = connect(), connect()
    local one, two = a.election("boss", "one"), b.election("boss", "two")
    check.returns({ nil, "no leader: boss", n = 2 }, one.leader())
    check.returns({ false, "lock not held by this session" }, one.resign())
    local ok, lock = one.campaign()
    check.truthy(ok and lock.alive() and one.is_leader())
    check.equal(select(2, one.campaign()), lock)
    check.returns({ "one", lock.token }, two.leader())
    check.equal(one.epoch(), lock.token)
    check.returns({ false, "timeout", "timeout" }, two.campaign(0.05))
    check.equal(two.epoch(), nil)
    a.close() -- The session ends, and with it the leadership.
    check.truthy(two.campaign())
    check.truthy(two.epoch() > lock.token)
    check.returns({ "two", two.epoch() }, two.leader())
    check.returns({ true }, two.resign())
    local three = b.election("boss")
    check.truthy(three.campaign(0))
    check.truthy(three.leader():find(":"), "a name without an id")
  end },
  { "on_lost is called in the first call after the loss", function()
    local a <close> = connect({ session_ttl = 2 })
    local _, lock = a.lock("noticed")
    local heard = 0
    lock.on_lost(function()
      heard = heard + 1
      a.exists("calls may be made in it")
    end)
    context.call("SESSION", "CLOSE", context.session_of(run .. ":noticed"))
    until_true(function()
      a.exists("any call")
      return heard > 0
    end, "the loss is noticed")
    check.equal(heard, 1)
    check.equal(lock.alive(), false)
    check.truthy(a.try_lock("noticed"))
    check.equal(heard, 1)
  end },
  { "a lock whose lease was over by this machine's clock does not stay behind", function()
    local a <close> = connect()
    local _, lock = a.lock("leased", { ttl = 0.2 })
    until_true(function()
      return not lock.alive()
    end, "the lease ends")
    local ok, again = a.lock("leased", 20)
    check.truthy(ok and again.alive())
  end },
  { "limits and circuits", function()
    local a <close> = connect()
    local b <close> = connect()
    check.returns({ true, 1, 0.0 }, a.rate_limit("api", 2, 3600))
    check.returns({ true, 0, 0.0 }, b.rate_limit("api", 2, 3600))
    local allowed, remaining, retry = a.rate_limit("api", 2, 3600)
    check.truthy(not allowed and remaining == 0 and retry > 3000 and retry < 3800)
    check.returns({ true, 2, 0.0 }, a.rate_limit("bucket", 1, 3600, { algo = "gcra", burst = 5, cost = 3 }))
    check.raises("bad argument #2 to 'rate_limit' (1 to 1000000 (integer) expected)", a.rate_limit, "k", 0, 1)
    check.raises("bad argument #4 to 'rate_limit' (burst is for gcra only)", a.rate_limit, "k", 1, 1, { burst = 2 })
    check.raises("unknown option 'speed'", a.rate_limit, "k", 1, 1, { speed = 2 })
    local options = { failures = 2, window = 3600, cooldown = 3600, probes = 1 }
    local one, two = a.circuit("api-circuit", options), b.circuit("api-circuit", options)
    check.returns({ true, "closed", 0.0 }, one.allow())
    check.returns({ "closed", "ok" }, one.failure())
    check.returns({ "open", "failures" }, two.failure())
    local ok, is, wait = one.allow()
    check.truthy(not ok and is == "open" and wait > 3000)
    check.returns({ "open", "cooldown" }, two.state())
    check.returns({ "open", "cooldown" }, two.success())
    check.returns({ "closed", "reset" }, two.reset())
    check.raises("bad argument #2 to 'circuit' (probes: 1 to 1000000 (integer) expected)", a.circuit, "k", { probes = 0 })
    a.set("text", "text")
    local none, message, code = a.circuit("text").allow()
    check.equal(none, nil)
    check.truthy(message:find("WRONGTYPE") and code == "wrong_type")
  end },
  { "once runs once, cached computes once, and failures are told", function()
    local a <close> = connect()
    local b <close> = connect()
    local runs = 0
    local function work()
      runs = runs + 1
      return { runs = runs }
    end
    check.returns({ { runs = 1 }, true }, a.once("setup", work))
    check.returns({ { runs = 1 }, false }, b.once("setup", work))
    check.returns({ true, true }, a.once("nothing", function() end))
    check.returns({ false, true }, a.once("said-no", function() return false end))
    check.returns({ false, false }, b.once("said-no", work))
    check.returns({ { runs = 2 } }, a.cached("result", 3600, work))
    check.returns({ { runs = 2 } }, b.cached("result", 3600, work))
    check.truthy(a.get_ttl("result") > 3000)
    check.returns({ nil, "Function execution failed: no luck", nil, n = 3 }, a.cached("fails", 1, function()
      error("no luck", 0)
    end))
    check.returns({ nil, "the function returned nothing", "refused", n = 3 }, a.cached("fails", 1, function() end))
    check.returns({ { runs = 3 } }, b.cached("fails", 60, work)) -- Nothing was left locked.
    check.raises("bad argument #2 to 'cached'", a.cached, "k", "ttl", work)
    check.raises("bad argument #3 to 'cached'", a.cached, "k", 1)
    check.raises("bad argument #2 to 'once'", a.once, "k")
  end },
  { "flags and averages", function()
    local a <close> = connect()
    check.returns({ true }, a.flag("new-ui", true))
    a.set("new-ui", false)
    check.returns({ false }, a.flag("new-ui", true))
    check.returns({ nil, 0, n = 2 }, a.average("latency"))
    check.returns({ 10.0, 1 }, a.average("latency", 10))
    check.returns({ 15.25, 2 }, a.average("latency", 20.5))
    check.returns({ 15.25, 2 }, a.average("latency"))
    check.raises("bad argument #2 to 'average'", a.average, "latency", "much")
    local nobody <close> = state.connect({ nodes = "127.0.0.1:1", timeout = 0.05 })
    local value, _, code = nobody.flag("new-ui", "default")
    check.equal(value, "default")
    check.equal(code, "unavailable")
    check.equal(nobody.transaction(function(tx) return tx.get("k") end), false)
  end },
  { "a latch opens for all, a barrier for each round", function()
    local a <close> = connect()
    local latch = a.latch("latch", 2)
    check.returns({ 2 }, latch.count())
    check.returns({ false, "timeout", "timeout" }, latch.await(0.05))
    check.returns({ false, "timeout", "timeout" }, latch.await(0))
    check.returns({ 1 }, latch.count_down())
    check.returns({ 1 }, latch.count())
    check.returns({ 0 }, latch.count_down())
    check.returns({ 0 }, latch.count_down(5))
    check.returns({ true }, latch.await())
    check.returns({ true }, latch.await(0))
    check.returns({ true }, latch.reset())
    check.returns({ false, "timeout", "timeout" }, latch.await(0))
    local alone = a.barrier("alone", 1)
    check.returns({ true, true }, alone.await())
    local barrier = a.barrier("barrier", 2)
    check.returns({ false, "timeout", "timeout" }, barrier.await(0.05)) -- And is off the count again.
    check.returns({ false, "timeout", "timeout" }, barrier.await(0.05))
    check.raises("bad argument #2 to 'latch' (1 to 1000000 (integer) expected)", a.latch, "l", 0)
    check.raises("bad argument #2 to 'barrier' (1 to 1000 (integer) expected)", a.barrier, "b", 1001)
  end },
}

local function forked(name, fn)
  tests[#tests + 1] = { name, function()
    if fork then
      fn()
    else
      print("     no compiler: left out")
    end
  end }
end

forked("workers move money, and none is lost or made", function()
  local a <close> = connect()
  for i = 1, 3 do
    a.set("account" .. i, 100)
  end
  local finished = in_children(many(4, function()
    local mine <close> = connect({ timeout = 60 })
    for i = 1, 10 do
      local from, to = "account" .. (i % 3 + 1), "account" .. ((i + 1) % 3 + 1)
      local ok = mine.transaction(function(tx)
        tx.set(from, tx.get(from) - i)
        tx.increment(to, i)
      end)
      if not ok then
        return false
      end
    end
    return true
  end))
  finished()
  local _, sum = a.transaction(function(tx)
    return tx.get("account1") + tx.get("account2") + tx.get("account3")
  end)
  check.equal(sum, 300)
end)

forked("who waits at a latch or a barrier is woken", function()
  local a <close> = connect()
  local rounds = 3
  local finished = in_children(many(4, function()
    local mine <close> = connect()
    if not mine.latch("start", 1).await(60) then
      return false
    end
    for round = 1, rounds do
      mine.increment("round" .. round)
      if not mine.barrier("meet", 4).await(60) or mine.get("round" .. round) ~= 4 then
        return false
      end
    end
    return true
  end))
  a.latch("start", 1).count_down()
  finished()
  check.equal(a.keys("meet:*"), {})
end)

forked("one computes while the others wait for its value", function()
  local a <close> = connect()
  in_children(many(5, function()
    local mine <close> = connect()
    return mine.cached("costly", 3600, function()
      mine.increment("computed")
      return 42
    end) == 42
  end))()
  check.returns({ 1 }, a.get("computed"))
end)

return tests
