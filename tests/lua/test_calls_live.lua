--- test_calls_live.lua - every call against a cluster (HOLDFAST_NODES).
local context = ...
local check = context.check
local module = require "state"

-- Each run, and each test of it, has keys of its own.
local run = string.format("test%d-%p", os.time(), {})
local s

local tests = {}
local function add(name, fn)
  local namespace = run .. "-" .. #tests
  tests[#tests + 1] = { name, function()
    s = module.connect({ namespace = namespace })
    local ok, message = xpcall(fn, debug.traceback)
    s.clear()
    s.close()
    if not ok then
      error(message, 0)
    end
  end }
end

-- A command as another client would send it, past the Lua client's types.
local function plain(...)
  local handle = assert(require("state.core").open({}))
  local ok, reply = handle:write(...)
  handle:close()
  check.truthy(ok, tostring(reply))
  return reply
end

local function wait_until(what, condition)
  local deadline = os.time() + 10
  while not condition() do
    check.truthy(os.time() < deadline, what)
  end
end

add("values keep their type", function()
  for _, value in ipairs({ "", "text", "\0\r\n\xff", "12", 0, -5, math.maxinteger, math.mininteger, 0.1, 3.0, -0.0,
    1e22, math.huge, true, false, {}, { 1, 2.5, "x", { a = {} } }, { b = 1, a = { true, false } } }) do
    check.returns({ true }, s.set("k", value))
    check.returns({ value }, s.get("k"))
    check.returns({ value }, s.get("k", "default"))
  end
end)

add("large values and keys of any bytes", function()
  local large = string.rep("0123456789abcdef", 1 << 16)
  check.returns({ true }, s.set("k", large))
  check.truthy(s.get("k") == large)
  local key = string.rep("k", 60000) .. "\0\r\n\xff*"
  check.returns({ true }, s.set(key, 1))
  check.returns({ 1 }, s.get(key))
  check.returns({ { "k", key } }, s.keys())
end)

add("a value past the limit is too large", function()
  local ok, message, code = s.set("k", string.rep("x", 9 << 20))
  check.equal({ ok, code }, { false, "too_large" }, tostring(message))
  check.returns({ false }, s.exists("k"))
end)

add("numbers are keys as their text", function()
  s.set(1, "int")
  s.set(1.0, "float")
  check.returns({ "int" }, s.get("1"))
  check.returns({ "float" }, s.get("1.0"))
end)

add("missing keys and defaults", function()
  check.returns({ nil, "key not found: k", n = 2 }, s.get("k"))
  check.returns({ 5 }, s.get("k", 5))
  check.returns({ nil, "key not found: k", n = 2 }, s.get_with_version("k"))
  check.returns({ true, false }, s.delete("k"))
  s.set("k", false)
  check.returns({ false }, s.get("k", true))
  check.returns({ true }, s.exists("k"))
  check.returns({ true }, s.has("k"))
  check.returns({ true, true }, s.delete("k"))
  check.returns({ false }, s.exists("k"))
end)

add("conditions of set", function()
  local refused = { false, "the condition does not hold", "refused" }
  check.returns(refused, s.set("k", 1, { if_present = true }))
  check.returns(refused, s.set("k", 1, { if_version = 5 }))
  check.returns({ true }, s.set("k", 1, { if_version = 0 }))
  check.returns(refused, s.set("k", 2, { if_absent = true }))
  local value, version = s.get_with_version("k")
  check.equal(value, 1)
  check.returns({ true }, s.set("k", 2, { if_version = version }))
  check.returns(refused, s.set("k", 3, { if_version = version }))
  local _, later = s.get_with_version("k")
  check.truthy(later > version)
  check.returns({ true }, s.set("k", 4, { if_present = true }))
end)

add("time to live", function()
  check.returns({ -2 }, s.get_ttl("k"))
  s.set("k", 1)
  check.returns({ -1 }, s.ttl("k"))
  check.returns({ true }, s.set_ttl("k", 100.5))
  local left = s.get_ttl("k")
  check.truthy(left > 90 and left <= 100.5, "ttl " .. left)
  check.returns({ true }, s.set_ttl("k", 0))
  check.returns({ -1 }, s.get_ttl("k"))
  check.returns({ true }, s.set_ttl("k", 0))
  check.returns({ false, "key not found: x" }, s.set_ttl("x", 0))
  check.returns({ false, "key not found: x" }, s.set_ttl("x", 5))
  s.set("k", 1, 100)
  check.truthy(s.get_ttl("k") > 90)
  s.set("k", 1) -- A plain set clears it.
  check.returns({ -1 }, s.get_ttl("k"))
end)

add("a key ends with its time to live, not before", function()
  local core = require "state.core"
  local before = core.now_ms()
  check.returns({ true }, s.set_with_ttl("k", "v", 0.3))
  wait_until("the key to end", function() return s.get("k") == nil end)
  check.truthy(core.now_ms() - before >= 299, "ended after " .. core.now_ms() - before .. " ms")
end)

add("what changes a value keeps its time to live", function()
  s.set("n", 1, 100)
  s.increment("n")
  s.set("s", "a", 100)
  s.append("s", "b")
  s.set("l", {}, 100)
  s.list_push("l", 1)
  s.set("c", 1, 100)
  s.compare_swap("c", 1, 2)
  s.set("u", 1, 100)
  s.atomic_update("u", function(value) return value + 1 end)
  s.set("d", 1, 100)
  s.changed("d", 2)
  for _, key in ipairs({ "n", "s", "l", "c", "u", "d" }) do
    check.truthy(s.get_ttl(key) > 90, key)
  end
  check.returns({ true }, s.compare_swap("c", 2, 3, { ttl = 5 }))
  check.truthy(s.get_ttl("c") <= 5)
end)

add("counters", function()
  check.returns({ 1 }, s.increment("n"))
  check.returns({ 11 }, s.increment("n", 10))
  check.returns({ 10 }, s.decrement("n"))
  check.returns({ 10.5 }, s.atomic_increment("n", 0.5))
  check.returns({ 11.0 }, s.increment("n", 0.5))
  check.returns({ 12.0 }, s.increment("n"))
  check.returns({ 12.0 }, s.get("n"))
  s.set("text", "41")
  check.returns({ 42 }, s.increment("text"))
  check.returns({ -3 }, s.decrement("fresh", 3))
  check.returns({ 0.5 }, s.increment("float", 0.5))
end)

add("counters refuse what is no number, and overflow", function()
  for _, value in ipairs({ "text", "", true, { 1 } }) do
    s.set("k", value)
    local got, message, code = s.increment("k")
    check.equal({ got, code }, { nil, "wrong_type" }, tostring(message))
    check.returns({ value }, s.get("k"))
  end
  s.set("k", math.maxinteger)
  local got, message, code = s.increment("k")
  check.equal({ got, code }, { nil, "refused" }, tostring(message))
  check.returns({ math.maxinteger }, s.get("k"))
  s.set("k", math.mininteger)
  check.equal(select(3, s.decrement("k")), "refused")
  s.set("k", 1.7e308)
  check.equal(select(3, s.increment("k", 1.7e308)), "refused")
  check.returns({ 1.7e308 }, s.get("k"))
end)

add("append", function()
  check.returns({ 1 }, s.append("k", "a", ", "))
  check.returns({ 4 }, s.append("k", "b", ", "))
  check.returns({ 5 }, s.append("k", 7))
  check.returns({ "a, b7" }, s.get("k"))
  check.returns({ 0 }, s.append("e", ""))
end)

add("compare_swap compares type and value", function()
  check.returns({ true }, s.compare_swap("k", nil, nil))
  check.returns({ false }, s.compare_swap("k", 1, 2))
  check.returns({ true }, s.compare_swap("k", nil, 1))
  check.returns({ false }, s.compare_swap("k", nil, 1))
  check.returns({ false }, s.compare_swap("k", nil, nil))
  for _, old in ipairs({ "1", 1.0, true, { 1 }, 2 }) do
    check.returns({ false }, s.compare_and_swap("k", old, 5))
  end
  check.returns({ true }, s.compare_swap("k", 1, { b = 1, a = { 2 } }))
  check.returns({ true }, s.compare_swap("k", { a = { 2 }, b = 1 }, 0.5))
  check.returns({ true }, s.compare_swap("k", 0.5, false))
  check.returns({ true }, s.compare_swap("k", false, nil))
  check.returns({ false }, s.exists("k"))
end)

add("changed", function()
  check.returns({ true }, s.changed("k", { a = 1 }))
  check.returns({ false }, s.changed("k", { a = 1 }))
  check.returns({ true }, s.changed("k", "x"))
  check.returns({ "x" }, s.get("k"))
end)

add("atomic_update", function()
  check.returns({ { n = 1 } }, s.atomic_update("k", function(value)
    check.equal(value, nil)
    return { n = 1 }
  end))
  check.returns({ { n = 2 } }, s.atomic_update("k", function(value)
    value.n = value.n + 1
    return value
  end))
  check.returns({ { n = 2 } }, s.atomic_update("k", function() end))
  local runs = 0
  check.returns({ 11 }, s.atomic_update("c", function(value)
    runs = runs + 1
    if runs == 1 then
      s.set("c", 10)
    end
    return (value or 0) + 1
  end))
  check.equal(runs, 2)
end)

add("lists", function()
  check.returns({ 1 }, s.list_push("l", "a"))
  check.returns({ 2 }, s.list_push("l", { x = 1 }))
  check.returns({ 3 }, s.list_push("l", 2.0))
  check.returns({ 3 }, s.list_length("l"))
  check.returns({ "a" }, s.list_pop("l", "head"))
  check.returns({ 2.0 }, s.list_pop("l"))
  check.returns({ { x = 1 } }, s.list_pop("l"))
  check.returns({ nil, "list is empty: l", n = 2 }, s.list_pop("l"))
  check.returns({ 0 }, s.list_length("l"))
  s.set("k", { a = 1 })
  check.returns({ -1, "key k holds no list", "wrong_type" }, s.list_push("k", 1))
end)

add("keys, list, get_all and clear see their namespace only", function()
  local other <close> = module.connect({ namespace = run .. "-other*" })
  other.set("a1", "theirs")
  for i = 3, 1, -1 do
    s.set("a" .. i, i)
  end
  s.set("b*", true)
  s.set("b[x]", "x")
  check.returns({ { "a1", "a2", "a3", "b*", "b[x]" } }, s.keys())
  check.returns({ { "a1", "a3" } }, s.keys("a[13]"))
  check.returns({ { "b*" } }, s.keys("b\\*"))
  check.returns({ { a1 = 1, a2 = 2, a3 = 3 } }, s.list("a"))
  check.returns({ { ["b*"] = true } }, s.list("b*"))
  check.returns({ { a1 = 1, a2 = 2, a3 = 3, ["b*"] = true, ["b[x]"] = "x" } }, s.get_all())
  check.returns({ true, 3 }, s.clear("a?"))
  check.returns({ { "b*", "b[x]" } }, s.keys())
  check.returns({ true, 2 }, s.clear())
  check.returns({ { a1 = "theirs" } }, other.get_all())
  other.clear()
end)

add("more keys than one piece holds", function()
  for i = 1, 1100 do
    s.set("k" .. i, i)
  end
  local map = s.get_all()
  for i = 1, 1100 do
    check.equal(map["k" .. i], i)
  end
  check.returns({ true, 1100 }, s.clear())
end)

add("more bytes than one reply may have", function()
  local large = string.rep("x", 7 << 20)
  for i = 1, 10 do
    check.returns({ true }, s.set("k" .. i, large))
  end
  s.set("k11", "small")
  local map = check.truthy(s.get_all())
  for i = 1, 10 do
    check.truthy(map["k" .. i] == large)
  end
  check.equal(map.k11, "small")
end)

add("values of plain clients read as numbers where they are ones", function()
  local namespace = run .. "-plain"
  local client <close> = module.connect({ namespace = namespace })
  for text, value in pairs({ ["5"] = 5, ["0.5"] = 0.5, ["05"] = "05", ["v1"] = "v1", ["1.50"] = "1.50" }) do
    plain("SET", namespace .. ":k", text)
    check.returns({ value }, client.get("k"))
    check.returns({ true }, client.compare_swap("k", value, "swapped"))
  end
  plain("SET", namespace .. ":k", "5")
  check.returns({ false }, client.changed("k", 5))
  check.returns({ 6 }, client.increment("k"))
  client.set("t", { b = 1, a = { 0.1 } })
  check.equal(plain("GET", namespace .. ":t"), "{\"a\":[0.1],\"b\":1}")
  client.set("t", 0.1)
  check.equal(plain("GET", namespace .. ":t"), "0.1")
  client.set("t", true)
  check.equal(plain("GET", namespace .. ":t"), "true")
  client.clear()
end)

add("JSON of other clients that cannot be read", function()
  local namespace = run .. "-json"
  local client <close> = module.connect({ namespace = namespace })
  plain("VSET", namespace .. ":k", "{", "TYPE", "json")
  check.equal(select(3, client.get("k")), "wrong_type")
  client.clear()
end)

add("stats", function()
  local before = check.truthy(s.stats())
  s.set("k", 1)
  local after = check.truthy(s.stats())
  check.truthy(after.total_keys >= 1)
  check.truthy(after.revision > before.revision, "revision " .. after.revision)
  check.equal(after.backend, "holdfast")
  check.truthy(#after.nodes >= 1)
  check.truthy(after.leader:find(":", 1, true), "leader " .. after.leader)
  for _, name in ipairs({ "expired_keys", "active_locks", "db_size_bytes", "total_size" }) do
    check.equal(math.type(after[name]), "integer", name)
  end
end)

add("the module itself connects at its first call", function()
  local key = run .. "-module"
  check.returns({ true }, module.set(key, 1))
  check.returns({ 1 }, module.get(key))
  module.close()
  check.returns({ true, true }, module.delete(key))
  module.close()
end)

add("no node: unavailable, within the deadline", function()
  local core = require "state.core"
  local client <close> = module.connect({ nodes = "127.0.0.1:1,127.0.0.1:2", timeout = 0.3 })
  local before = core.now_ms()
  local value, message, code = client.get("k", "default")
  check.equal({ value, code }, { nil, "unavailable" }, tostring(message))
  check.equal(select(3, client.set("k", 1)), "unavailable")
  check.equal(select(3, client.atomic_update("k", function() return 1 end)), "unavailable")
  check.truthy(core.now_ms() - before < 3000, "took " .. core.now_ms() - before .. " ms")
end)

return tests
