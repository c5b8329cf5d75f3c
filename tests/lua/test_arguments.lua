--- test_arguments.lua - a mistake raises, names the call and the argument, and sends nothing; needs no cluster.
local context = ...
local check = context.check
local fake = require "fake"

--- Each row: what the message says, the call, its arguments.
local MISTAKES = {
  { "bad argument #1 to 'get' (key (string or number) expected, got nil)", "get" },
  { "bad argument #1 to 'get' (key (string or number) expected, got table)", "get", {} },
  { "bad argument #1 to 'get' (the key is empty)", "get", "" },
  { "bad argument #1 to 'get' (the key is longer than 64 KiB)", "get", string.rep("k", 65537) },
  { "bad argument #2 to 'set' (nil cannot be stored: use delete)", "set", "k" },
  { "bad argument #2 to 'set' (a function cannot be stored)", "set", "k", print },
  { "bad argument #2 to 'set' (NaN inside the table)", "set", "k", { 0 / 0 } },
  { "bad argument #3 to 'set' (ttl (number) or options (table) expected, got string)", "set", "k", 1, "5" },
  { "bad argument #3 to 'set' (more than 0 seconds expected)", "set", "k", 1, 0 },
  { "bad argument #3 to 'set' (more than 0 seconds expected)", "set", "k", 1, 0 / 0 },
  { "bad argument #3 to 'set' (more than 100 years)", "set", "k", 1, math.huge },
  { "bad argument #3 to 'set' (seconds (number) expected, got string)", "set", "k", 1, { ttl = "5" } },
  { "bad argument #3 to 'set' (unknown option 'tll')", "set", "k", 1, { tll = 5 } },
  { "bad argument #3 to 'set' (if_absent, if_present and if_version exclude each other)", "set", "k", 1,
    { if_absent = true, if_version = 3 } },
  { "bad argument #3 to 'set' (if_version: a version (integer) expected)", "set", "k", 1, { if_version = "3" } },
  { "bad argument #3 to 'set_with_ttl' (seconds (number) expected, got nil)", "set_with_ttl", "k", 1 },
  { "bad argument #1 to 'delete' (key", "delete" },
  { "bad argument #1 to 'exists' (key", "exists", true },
  { "bad argument #1 to 'keys' (string expected, got table)", "keys", {} },
  { "bad argument #1 to 'list' (string expected, got boolean)", "list", true },
  { "bad argument #1 to 'clear' (string expected, got function)", "clear", print },
  { "bad argument #2 to 'increment' (number expected, got table)", "increment", "k", {} },
  { "bad argument #2 to 'increment' (number expected, got string)", "increment", "k", "many" },
  { "bad argument #2 to 'increment' (a finite number expected)", "increment", "k", 0 / 0 },
  { "bad argument #2 to 'decrement' (a finite number expected)", "decrement", "k", -math.huge },
  { "bad argument #2 to 'decrement' (out of range)", "decrement", "k", math.mininteger },
  { "bad argument #2 to 'append' (string expected, got nil)", "append", "k" },
  { "bad argument #3 to 'append' (string expected, got table)", "append", "k", "x", {} },
  { "bad argument #2 to 'compare_swap' (a function cannot be stored)", "compare_swap", "k", print, 1 },
  { "bad argument #3 to 'compare_swap' (value expected, got no value: nil, written out, deletes)", "compare_swap",
    "k", 1 },
  { "bad argument #3 to 'compare_swap' (a function inside the table)", "compare_swap", "k", 1, { print } },
  { "bad argument #4 to 'compare_swap' (options (table) expected, got number)", "compare_swap", "k", 1, 2, 5 },
  { "bad argument #4 to 'compare_swap' (unknown option 'if_absent')", "compare_swap", "k", 1, 2, { if_absent = true } },
  { "bad argument #4 to 'compare_swap' (more than 0 seconds expected)", "compare_swap", "k", 1, 2, { ttl = 0 } },
  { "bad argument #2 to 'changed' (nil cannot be stored: use delete)", "changed", "k" },
  { "bad argument #2 to 'atomic_update' (function expected, got nil)", "atomic_update", "k" },
  { "bad argument #2 to 'list_push' (nil cannot be stored: use delete)", "list_push", "k" },
  { "bad argument #2 to 'list_pop' (\"head\" or \"tail\" expected)", "list_pop", "k", "middle" },
  { "bad argument #1 to 'list_length' (key", "list_length" },
  { "bad argument #2 to 'set_ttl' (seconds (number) expected, got nil)", "set_ttl", "k" },
  { "bad argument #2 to 'set_ttl' (more than 0 seconds expected)", "set_ttl", "k", 0 / 0 },
  { "bad argument #1 to 'get_ttl' (key", "get_ttl" },
  { "bad argument #1 to 'wait' (key", "wait" },
  { "bad argument #2 to 'wait' (value or function expected, got nil)", "wait", "k" },
  { "bad argument #2 to 'wait' (NaN inside the table)", "wait", "k", { 0 / 0 } },
  { "bad argument #3 to 'wait' (0 to 86400 seconds expected)", "wait", "k", 1, -1 },
  { "bad argument #3 to 'wait' (seconds (number) expected, got string)", "wait", "k", 1, "5" },
  { "bad argument #1 to 'watch' (string expected, got nil)", "watch" },
  { "bad argument #2 to 'watch' (function expected, got nil)", "watch", "k" },
  { "bad argument #3 to 'watch' (options (table) expected, got number)", "watch", "k", print, 1 },
  { "bad argument #3 to 'watch' (unknown option 'since')", "watch", "k", print, { since = 1 } },
  { "bad argument #3 to 'watch' (from: a version (integer) expected)", "watch", "k", print, { from = 1.5 } },
  { "bad argument #3 to 'watch' (timeout: 0 to 86400 seconds expected)", "watch", "k", print, { timeout = -1 } },
  { "bad argument #1 to 'connect' (options (table) expected, got string)", "connect", "host:1" },
  { "bad argument #1 to 'connect' (nodes: string expected, got number)", "connect", { nodes = 1 } },
  { "bad argument #1 to 'connect' (nodes: a list of host:port expected)", "connect", { nodes = "bad" } },
  { "bad argument #1 to 'connect' (option 'tls' is not one of this version)", "connect", { tls = {} } },
  { "bad argument #1 to 'lock' (lock name (string or number) expected, got nil)", "lock" },
  { "bad argument #1 to 'try_lock' (the name is empty)", "try_lock", "" },
  { "bad argument #1 to 'unlock' (the name is longer than 512 bytes)", "unlock", ("n"):rep(513) },
  { "bad argument #2 to 'lock' (0 to 86400 seconds expected)", "lock", "l", -1 },
  { "bad argument #2 to 'lock' (timeout (number) or options (table) expected, got boolean)", "lock", "l", true },
  { "bad argument #2 to 'lock' (unknown option 'wait')", "lock", "l", { wait = 1 } },
  { "bad argument #2 to 'try_lock' (more than 0 seconds expected)", "try_lock", "l", 0 },
  { "bad argument #3 to 'lock' (seconds (number) expected, got nil)", "lock", "l", "holder" },
  { "bad argument #2 to 'unlock' (holder (string) expected, got number)", "unlock", "l", 5 },
  { "bad argument #2 to 'with_lock' (function expected, got nil)", "with_lock", "l" },
  { "bad argument #4 to 'with_lock' (function expected, got nil)", "with_lock", "l", "holder", 5 },
  { "bad argument #2 to 'semaphore' (1 to 1000000 permits (integer) expected)", "semaphore", "l", 0 },
  { "bad argument #1 to 'connect' (timeout: 0.001 to 86400 seconds expected)", "connect", { timeout = 0 } },
  { "bad argument #1 to 'connect' (timeout: 0.001 to 86400 seconds expected)", "connect", { timeout = 0 / 0 } },
  { "bad argument #1 to 'connect' (session_ttl: 0.1 to 86400 seconds expected)", "connect", { session_ttl = 0 } },
  { "bad argument #1 to 'connect' (session_ttl: number expected, got string)", "connect", { session_ttl = "1" } },
}

local tests = {}
for _, row in ipairs(MISTAKES) do
  tests[#tests + 1] = { row[1]:sub(1, 100), function()
    local state, wire = fake.new()
    check.raises(row[1], state[row[2]], table.unpack(row, 3))
    check.equal(wire.calls, {})
  end }
end

local function add(name, fn)
  tests[#tests + 1] = { name, fn }
end

add("a mistake is reported in the caller's line", function()
  local state = fake.new()
  for _, call in ipairs({
    function() state.get({}) end, function() state.set("k", 1, "5") end, function() state.set("k", 1, { tll = 1 }) end,
    function() state.list(true) end, function() state.keys({}) end, function() state.increment("k", {}) end,
    function() state.compare_swap("k", 1, 2, { x = 1 }) end, function() state.compare_swap("k", print, 2) end,
    function() state.atomic_update("k") end, function() state.atomic_update("k", function() return print end) end,
    function() state.list_push("k", 0 / 0) end, function() state.set_ttl("k") end, function() state.connect(1) end,
  }) do
    local line = debug.getinfo(call, "S").linedefined
    local _, message = pcall(call)
    check.truthy(message:find("test_arguments.lua:" .. line .. ": bad argument", 1, true), message)
  end
end)

add("a closed client raises, the module's own opens again", function()
  local state, wire = fake.new()
  local client = state.connect({ nodes = "n1:1" })
  client.set("k", 1)
  client.close()
  client.close()
  check.equal(wire.closed, 1)
  check.raises("the client is closed", client.get, "k")
  local ok, message = pcall(function() client.get("k") end)
  check.truthy(not ok and message:find("test_arguments.lua", 1, true), message)
  state.get("k")
  state.close()
  state.get("k")
  check.equal(#wire.opened, 3)
end)

add("a to-be-closed client closes with its block, by an error too", function()
  local state, wire = fake.new()
  do
    local client <close> = state.connect({ nodes = "n1:1" })
    client.get("k")
  end
  check.equal(wire.closed, 1)
  pcall(function()
    local client <close> = state.connect({ nodes = "n1:1" })
    client.get({})
  end)
  check.equal(wire.closed, 2)
end)

add("connecting waits for the first call, options arrive", function()
  local state, wire = fake.new()
  check.equal(#wire.opened, 0)
  state.connect({ nodes = { "a:1", "b:2" }, timeout = 0.25, session_ttl = 1.5, user = "u", password = "p" })
  check.equal(
    wire.opened[1],
    { nodes = "a:1,b:2", timeout_ms = 250, session_ttl_ms = 1500, user = "u", password = "p" }
  )
  check.equal(wire.calls, {})
end)

add("the environment names a namespace, options come first", function()
  local state, wire = fake.new({ HOLDFAST_NAMESPACE = "env" })
  state.get("k")
  state.connect({ namespace = "own" }).get("k")
  state.connect({ namespace = "" }).get("k")
  state.connect().get("k")
  check.equal(wire.calls, { "r VGET env:k", "r VGET own:k", "r VGET k", "r VGET env:k" })
end)

add("where TLS is asked for, nothing goes out without it", function()
  local state, wire = fake.new({ HOLDFAST_CA = "/ca.pem" })
  local refusal = { nil, "HOLDFAST_CA is set, and this version has no TLS", "unavailable", n = 3 }
  check.returns(refusal, state.get("k"))
  check.returns(refusal, state.connect({ nodes = "n1:1" }).get("k"))
  check.equal(wire.calls, {})
end)

add("all calls of a client work after globals are gone", function()
  local state, wire = fake.new() -- Its environment raises on any global it reads or sets.
  local saved = { tostring, pairs }
  tostring, pairs = nil, nil -- luacheck: ignore
  local ok, message = pcall(function()
    assert(state.set("k", { a = 1 }))
    assert(state.get("k").a == 1)
    assert(state.keys()[1] == "k")
    assert(state.list_push("l", 1) == 1)
    assert(state.clear() == true)
  end)
  tostring, pairs = table.unpack(saved) -- luacheck: ignore
  check.truthy(ok, tostring(message))
  check.truthy(#wire.calls > 0)
end)

return tests
