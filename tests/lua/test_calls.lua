--- test_calls.lua - what each call sends, how often, and what answers and failures become; needs no cluster.
local context = ...
local check = context.check
local fake = require "fake"

-- A client whose wire answers everything with the same words.
local function answering(...)
  local state, wire = fake.new()
  local answer = table.pack(...)
  wire.answer = function()
    return table.unpack(answer, 1, answer.n)
  end
  return state, wire
end

-- The one command that a call sends when the cluster answers `reply`.
local function sends(want, reply, name, ...)
  local state, wire = answering(true, reply)
  state[name](...)
  check.equal(wire.calls, { want }, name)
end

local FAILURE = { "no leader", "unavailable" }

local tests = {}
local function add(name, fn)
  tests[#tests + 1] = { name, fn }
end

add("a lock whose outcome is not known is given up at the next chance", function()
  local state, wire = answering(false, "lost in between", "unknown")
  check.returns({ false, "lost in between", "unknown" }, state.lock("l", 5))
  check.equal(wire.waited, 5000)
  wire.answer = function(_, what)
    return true, what == "ACQUIRE" and 9 or 0
  end
  check.truthy(state.try_lock("other"))
  check.equal(wire.calls, { "w LOCK ACQUIRE l - WAIT 5000", "w LOCK RELEASE l -", "w LOCK ACQUIRE other -" })
end)

add("unlock releases the last lock taken, and asks nobody without one", function()
  local state, wire = answering(true, 9)
  check.returns({ false, "lock not held by this session" }, state.unlock("l"))
  check.equal(wire.calls, {})
  local _, lock = state.try_lock("l")
  check.equal(lock.alive(), true)
  wire.answer = function()
    return true, 1
  end
  check.returns({ true }, state.unlock("l"))
  check.returns({ false, "lock not held by this session" }, state.unlock("l"))
  check.equal(wire.calls, { "w LOCK ACQUIRE l -", "w LOCK RELEASE l - TOKEN 9" })
  check.equal(lock.alive(), false)
end)

add("a lock is lost with its session, and whoever wants to know hears it once", function()
  local state, wire = answering(true, 9)
  local heard = {}
  local _, lock = state.try_lock("l")
  lock.on_lost(function(which)
    heard[#heard + 1] = which
  end)
  wire.session = 8
  check.equal(lock.alive(), false)
  check.equal(lock.alive(), false)
  check.returns({ false, "lock not held by this session", "lost" }, lock.release())
  check.equal(#heard, 1)
  check.equal(heard[1] == lock, true)
end)

add("a lease ends by the local clock, counted from when it was asked for", function()
  local state, wire = answering(true, 9)
  local _, lock = state.try_lock("l", 2)
  wire.now_ms = 1999
  check.equal(lock.alive(), true)
  wire.now_ms = 2000
  check.equal(lock.alive(), false)
end)

add("one call is one command", function()
  sends("w VSET k v TYPE str", 1, "set", "k", "v")
  sends("w VSET 1 2 TYPE int", 1, "set", 1, 2)
  sends("w VSET 1.0 {} TYPE json", 1, "set", 1.0, {})
  sends("w VSET k true TYPE bool PX 1500", 1, "set", "k", true, 1.5)
  sends("w VSET k 0.5 TYPE float NX PX 1", 1, "set", "k", 0.5, { ttl = 0.0001, if_absent = true })
  sends("w VSET k 1 TYPE int XX", 1, "set", "k", 1, { if_present = true })
  sends("w VSET k 1 TYPE int IFVER 7", 1, "set", "k", 1, { if_version = 7 })
  sends("w VSET k 1 TYPE int PX 86400000", 1, "set_with_ttl", "k", 1, 24 * 3600)
  sends("w LOCK ACQUIRE l -", 5, "try_lock", "l")
  sends("w LOCK ACQUIRE l - TTL 1500", 5, "try_lock", "l", 1.5)
  sends("w LOCK ACQUIRE l - REENTRANT SHARED", 5, "try_lock", "l", { reentrant = true, shared = true })
  sends("w LOCK ACQUIRE l - WAIT 30000", 5, "lock", "l")
  sends("w LOCK ACQUIRE l - TTL 2000 WAIT 500", 5, "lock", "l", { timeout = 0.5, ttl = 2 })
  sends("w LOCK ACQUIRE l -", nil, "lock", "l", 0)
  sends("w LOCK ACQUIRE l - TTL 5000", 5, "lock", "l", "holder", 5)
  sends("r LOCK INFO l", nil, "is_locked", "l")
  sends("r LOCK INFO l", nil, "lock_info", "l")
  sends("r VGET k", nil, "get", "k")
  sends("r VGET k", nil, "get_with_version", "k")
  sends("w DEL k", 0, "delete", "k")
  sends("r EXISTS k", 0, "exists", "k")
  sends("r EXISTS k", 0, "has", "k")
  sends("r KEYS *", {}, "keys")
  sends("r KEYS a[1-3]?\\*", {}, "keys", "a[1-3]?\\*")
  sends("r KEYS a\\*b\\[\\]\\?\\\\*", {}, "list", "a*b[]?\\")
  sends("r KEYS *", {}, "get_all")
  sends("r KEYS *", {}, "clear")
  sends("w VINCR k 1 TYPE int", { "1", "int" }, "increment", "k")
  sends("w VINCR k 0.5 TYPE float", { "1", "float" }, "atomic_increment", "k", 0.5)
  sends("w VINCR k 5 TYPE int", { "1", "int" }, "increment", "k", "5")
  sends("w VINCR k -1 TYPE int", { "1", "int" }, "decrement", "k")
  sends("w VINCR k 3 TYPE int", { "1", "int" }, "decrement", "k", -3)
  sends("w VINCR k -2.5 TYPE float", { "1", "float" }, "decrement", "k", 2.5)
  sends("w VAPPEND k x ", 1, "append", "k", "x")
  sends("w VAPPEND k 5 ,", 1, "append", "k", 5, ",")
  sends("w CAS k 1 x TYPES int str", 1, "compare_swap", "k", 1, "x")
  sends("w CAS k  x TYPES nil str", 1, "compare_and_swap", "k", nil, "x")
  sends("w CAS k false  TYPES bool nil PX 250", 1, "compare_swap", "k", false, nil, { ttl = 0.25 })
  sends("r EXISTS k", 1, "compare_swap", "k", nil, nil)
  sends("w PEXPIRE k 1500", 1, "set_ttl", "k", 1.5)
  sends("w PERSIST k", 1, "set_ttl", "k", -1)
  sends("r PTTL k", -1, "get_ttl", "k")
  sends("r PTTL k", -1, "ttl", "k")
end)

add("failures become each call's sentinel, the message and the code", function()
  local state = answering(false, table.unpack(FAILURE))
  local function fails(sentinel, name, ...)
    check.returns({ sentinel, "no leader", "unavailable", n = 3 }, state[name](...))
  end
  fails(false, "set", "k", 1)
  fails(false, "set_with_ttl", "k", 1, 1)
  fails(nil, "get", "k")
  fails(nil, "get", "k", "default")
  fails(nil, "get_with_version", "k")
  fails(false, "delete", "k")
  fails(false, "exists", "k")
  fails(nil, "keys")
  fails(nil, "list", "p")
  fails(nil, "get_all")
  fails(false, "clear")
  fails(nil, "stats")
  fails(nil, "increment", "k")
  fails(nil, "decrement", "k")
  fails(-1, "append", "k", "x")
  fails(false, "compare_swap", "k", 1, 2)
  fails(false, "compare_swap", "k", nil, nil)
  fails(false, "changed", "k", 1)
  fails(nil, "atomic_update", "k", function() return 1 end)
  fails(-1, "list_push", "k", 1)
  fails(nil, "list_pop", "k")
  fails(0, "list_length", "k")
  fails(false, "set_ttl", "k", 1)
  fails(false, "set_ttl", "k", 0)
  fails(-1, "get_ttl", "k")
end)

add("missing keys", function()
  local state = fake.new()
  check.returns({ nil, "key not found: k", n = 2 }, state.get("k"))
  check.returns({ nil, "key not found: 7", n = 2 }, state.get(7))
  check.returns({ 5 }, state.get("k", 5))
  check.returns({ false }, state.get("k", false))
  check.returns({ nil, "key not found: k", n = 2 }, state.get_with_version("k"))
  check.returns({ true, false }, state.delete("k"))
  check.returns({ false }, state.exists("k"))
  check.returns({ 0 }, state.list_length("k"))
  check.returns({ nil, "list is empty: k", n = 2 }, state.list_pop("k"))
  check.returns({ {} }, state.keys())
  check.returns({ {} }, state.get_all())
  check.returns({ true, 0 }, state.clear())
  check.returns({ nil, n = 1 }, state.atomic_update("k", function() end))
end)

add("a stored false is a value", function()
  local state = fake.new()
  state.set("k", false)
  check.returns({ false }, state.get("k", true))
  check.returns({ false, 1 }, state.get_with_version("k"))
end)

add("a condition that does not hold is refused", function()
  local state = fake.new()
  local refused = { false, "the condition does not hold", "refused" }
  check.returns(refused, state.set("k", 1, { if_present = true }))
  check.returns({ true }, state.set("k", 1, { if_absent = true }))
  check.returns(refused, state.set("k", 1, { if_absent = true }))
  check.returns(refused, state.set("k", 1, { if_version = 0 }))
  check.returns({ true }, state.set("k", 2, { if_version = 1 }))
end)

add("a conflict runs the function again, with what is there now", function()
  local state, wire = fake.new()
  state.set("k", 1)
  local seen, interfered = {}, false
  check.returns({ 20 }, state.atomic_update("k", function(value)
    seen[#seen + 1] = value
    if not interfered then
      interfered = true
      state.set("k", 10)
    end
    return value * 2
  end))
  check.equal(seen, { 1, 10 })
  check.equal(state.get("k"), 20)
  check.equal(wire.calls[#wire.calls - 1], "w VSET k 20 TYPE int IFVER 2 KEEPTTL")
end)

add("endless conflicts end at the deadline", function()
  local state, wire = fake.new()
  state.set("k", 1)
  wire.answer = function(name)
    if name == "VSET" then
      return true, nil
    end
  end
  check.returns({ nil, "key k kept changing until the deadline", "timeout", n = 3 },
    state.atomic_update("k", function(value) return value + 1 end))
  check.returns({ -1, "key l kept changing until the deadline", "timeout" }, state.list_push("l", 1))
  check.truthy(wire.now_ms >= 10000 and wire.now_ms < 11000, "waited " .. wire.now_ms .. " ms")
end)

add("an unknown outcome is told, not tried again", function()
  local state, wire = fake.new()
  wire.answer = function(name)
    if name == "VSET" then
      return false, "connection lost", "unknown"
    end
  end
  check.returns({ nil, "connection lost", "unknown", n = 3 }, state.atomic_update("k", function() return 1 end))
  check.equal(wire.calls, { "r VGET k", "w VSET k 1 TYPE int NX" })
end)

add("an error in the function of atomic_update comes out and stores nothing", function()
  local state, wire = fake.new()
  check.raises("mine", state.atomic_update, "k", function() error("mine") end)
  check.raises("bad argument #2 to 'atomic_update' (the function returned a thread cannot be stored)",
    state.atomic_update, "k", function() return coroutine.create(print) end)
  check.equal(wire.calls, { "r VGET k", "r VGET k" })
end)

add("atomic_update with nil leaves the key alone", function()
  local state, wire = fake.new()
  state.set("k", "v")
  check.returns({ "v" }, state.atomic_update("k", function() end))
  check.equal(#wire.calls, 2)
end)

add("changed writes only what differs in value or type", function()
  local state, wire = fake.new()
  check.returns({ true }, state.changed("k", { b = 1, a = 2 }))
  check.returns({ false }, state.changed("k", { a = 2, b = 1 }))
  check.returns({ true }, state.changed("k", 1))
  check.returns({ true }, state.changed("k", 1.0))
  check.returns({ true }, state.changed("k", "1"))
  check.equal(#wire.calls, 9)
end)

add("changed compares what other clients wrote by its meaning", function()
  local state, wire = fake.new()
  wire.answer = function(name)
    if name == "VGET" then
      return true, wire.stored
    end
  end
  wire.stored = { "5", "raw", 1, -1 }
  check.returns({ false }, state.changed("k", 5))
  wire.stored = { "{ \"b\": 1,\n\"a\": 2 }", "json", 1, -1 }
  check.returns({ false }, state.changed("k", { a = 2, b = 1 }))
end)

add("lists push at the tail and pop at either end", function()
  local state = fake.new()
  for i, item in ipairs({ "a", { x = 1 }, 3.5 }) do
    check.returns({ i }, state.list_push("l", item))
  end
  check.returns({ 3 }, state.list_length("l"))
  check.returns({ { "a", { x = 1 }, 3.5 } }, state.get("l"))
  check.returns({ "a" }, state.list_pop("l", "head"))
  check.returns({ 3.5 }, state.list_pop("l"))
  check.returns({ { x = 1 } }, state.list_pop("l", "tail"))
  check.returns({ nil, "list is empty: l", n = 2 }, state.list_pop("l"))
  check.returns({ 1 }, state.list_push("l", false))
  check.returns({ false }, state.list_pop("l"))
  state.set("l", {})
  check.returns({ 1 }, state.list_push("l", 1))
end)

add("what is no list is told and left alone", function()
  local state, wire = fake.new()
  for _, value in ipairs({ "text", 5, true, { a = 1 } }) do
    state.set("k", value)
    local calls = #wire.calls
    check.returns({ -1, "key k holds no list", "wrong_type" }, state.list_push("k", 1))
    check.returns({ nil, "key k holds no list", "wrong_type", n = 3 }, state.list_pop("k"))
    check.returns({ 0, "key k holds no list", "wrong_type" }, state.list_length("k"))
    check.equal(#wire.calls, calls + 3)
  end
end)

add("an item that no list can hold raises", function()
  local state = fake.new()
  check.raises("bad argument #2 to 'list_push' (a string inside the table is not valid UTF-8)",
    state.list_push, "l", "\xff")
end)

add("what this client cannot read is told with its key", function()
  local state = answering(true, { "{", "json", 1, -1 })
  local value, message, code = state.get("k")
  check.equal({ value, message:match("^key k holds JSON that cannot be read"), code },
    { nil, "key k holds JSON that cannot be read", "wrong_type" })
  check.equal(select(3, state.atomic_update("k", function() return 1 end)), "wrong_type")
end)

add("namespaces go before keys and come off again", function()
  local state, wire = fake.new()
  local client = state.connect({ nodes = "n:1", namespace = "a*b" })
  client.set("k", 1)
  client.list_push("l", 1)
  check.equal(wire.calls[1], "w VSET a*b:k 1 TYPE int")
  check.equal(client.keys(), { "k", "l" })
  check.equal(wire.calls[#wire.calls], "r KEYS a\\*b:*")
  check.equal(client.list(), { k = 1, l = { 1 } })
  check.returns({ nil, "key not found: x", n = 2 }, client.get("x"))
  client.clear()
  check.equal(wire.calls[#wire.calls], "w DEL a*b:k a*b:l")
  check.raises("longer than 64 KiB", client.get, string.rep("k", 65533))
  client.get(string.rep("k", 65532))
end)

add("many keys go in pieces of 512", function()
  local state, wire = fake.new()
  for i = 1, 1030 do
    state.set(string.format("k%04d", i), i)
  end
  wire.calls = {}
  local map = state.get_all()
  check.equal(#wire.calls, 4)
  check.equal({ map.k0001, map.k0512, map.k0513, map.k1030 }, { 1, 512, 513, 1030 })
  check.equal(#state.keys(), 1030)
  wire.calls = {}
  check.returns({ true, 1030 }, state.clear())
  check.equal(#wire.calls, 4)
end)

add("large values go in requests of at most 32 MiB", function()
  local state, wire = fake.new()
  local large = string.rep("x", 7 << 20)
  for i = 1, 9 do
    state.set("k" .. i, large)
  end
  wire.calls = {}
  check.truthy(state.get_all().k9 == large)
  check.equal(wire.calls, { "r KEYS *", "r VMGET k1 k2 k3 k4", "r VMGET k5 k6 k7 k8", "r VMGET k9" })
end)

add("keys that are gone when their piece is read are left out", function()
  local state, wire = fake.new()
  state.set("a", 1)
  wire.answer = function(name)
    if name == "KEYS" then
      return true, { "b", "a" }
    end
  end
  check.returns({ { a = 1 } }, state.list(""))
end)

add("time to live", function()
  local state, wire = fake.new()
  wire.answer = function(name) return true, wire[name] end
  wire.PTTL = 1500
  check.returns({ 1.5 }, state.get_ttl("k"))
  wire.PTTL = -2
  check.returns({ -2 }, state.get_ttl("k"))
  wire.PEXPIRE, wire.PERSIST, wire.EXISTS = 0, 0, 0
  check.returns({ false, "key not found: k" }, state.set_ttl("k", 5))
  check.returns({ false, "key not found: k" }, state.set_ttl("k", 0))
  wire.EXISTS = 1 -- There, but without a TTL to remove.
  check.returns({ true }, state.set_ttl("k", 0))
end)

add("answers of counters keep their type", function()
  local state = answering(true, { "3", "float" })
  check.returns({ 3.0 }, state.increment("k", 0.5))
  state = answering(true, { "3", "int" })
  check.returns({ 3 }, state.increment("k"))
end)

add("stats", function()
  local state, wire = fake.new()
  wire.answer = function(name)
    return true, name == "DBSIZE" and 12 or "# Server\r\nredis_version:7.2.0\r\nexpired_keys:3\r\nrevision:99\r\n" ..
      "leader_client_address:127.0.0.1:7402\r\nfile_bytes:4096\r\n"
  end
  check.returns({ { total_keys = 12, expired_keys = 3, active_locks = 0, db_size_bytes = 4096, total_size = 4096,
    backend = "holdfast", leader = "127.0.0.1:7402", nodes = { "n1:1", "n2:2" }, revision = 99 } }, state.stats())
end)

return tests
