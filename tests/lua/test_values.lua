--- test_values.lua - Lua values to typed bytes and back; needs no cluster.
local context = ...
local check = context.check
local core = require "state.core"

local function round_trip(value)
  local bytes, kind = core.encode(value)
  check.truthy(bytes, "encoding of " .. check.show(value) .. " (" .. tostring(kind) .. ")")
  return core.decode(bytes, kind), bytes, kind
end

local function stored_as(value, bytes, kind)
  local back, got_bytes, got_kind = round_trip(value)
  check.equal(got_bytes, bytes)
  check.equal(got_kind, kind)
  check.equal(back, value)
end

local function refused(value, why)
  check.returns({ nil, why, n = 2 }, core.encode(value))
end

local function nested(depth)
  local value = {}
  for _ = 2, depth do
    value = { value }
  end
  return value
end

local function random_value(depth)
  local kinds = depth > 0 and 6 or 4
  local kind = math.random(kinds)
  if kind == 1 then
    return math.random(0) -- All 64 bits.
  elseif kind == 2 then
    local d = string.unpack("d", string.pack("i8", math.random(0)))
    return (d ~= d or d == math.huge or d == -math.huge) and 0.5 or d
  elseif kind == 3 then
    return math.random(2) == 1
  elseif kind == 4 then
    local points = {}
    for i = 1, math.random(0, 6) do
      points[i] = utf8.char(math.random(0, 0xD7FF))
    end
    return table.concat(points)
  end
  local value = {}
  for i = 1, math.random(0, 4) do
    local key = kind == 5 and i or "k" .. math.random(1000)
    value[key] = random_value(depth - 1)
  end
  return value
end

return {
  { "strings of any bytes", function()
    stored_as("", "", "str")
    stored_as("caf\u{e9}", "caf\u{e9}", "str")
    stored_as("\0\r\n\xff", "\0\r\n\xff", "str")
    stored_as("12", "12", "str")
    stored_as(string.rep("x", 1 << 20), string.rep("x", 1 << 20), "str")
  end },
  { "integers stay integers", function()
    stored_as(0, "0", "int")
    stored_as(-7, "-7", "int")
    stored_as(math.maxinteger, "9223372036854775807", "int")
    stored_as(math.mininteger, "-9223372036854775808", "int")
  end },
  { "floats stay floats, in the shortest text", function()
    stored_as(0.1, "0.1", "float")
    stored_as(3.0, "3", "float")
    stored_as(-0.0, "-0", "float")
    stored_as(1e22, "1e+22", "float")
    stored_as(1 / 3, "0.3333333333333333", "float")
    stored_as(0.1 + 0.2, "0.30000000000000004", "float")
    stored_as(math.huge, "inf", "float")
    local nan, bytes = round_trip(0 / 0)
    check.truthy(nan ~= nan and bytes == "nan")
    stored_as(5e-324, "4.94065645841247e-324", "float")
    stored_as(1.7976931348623157e308, "1.7976931348623157e+308", "float")
  end },
  { "booleans", function()
    stored_as(true, "true", "bool")
    stored_as(false, "false", "bool")
  end },
  { "tables as JSON with sorted keys", function()
    stored_as({}, "{}", "json")
    stored_as({ 1, 2.0, 2.5, "x", true, false }, "[1,2.0,2.5,\"x\",true,false]", "json")
    stored_as({ b = 1, a = { c = {} }, ["a\u{1}"] = 2 }, "{\"a\":{\"c\":{}},\"a\\u0001\":2,\"b\":1}", "json")
    stored_as({ [""] = 1, ["1"] = 2 }, "{\"\":1,\"1\":2}", "json")
    stored_as({ { { 1e100 } } }, "[[[1e+100]]]", "json")
    stored_as({ -0.0, math.mininteger }, "[-0.0,-9223372036854775808]", "json")
    stored_as({ "a\0b\"\\/\u{2028}\u{1F600}" }, "[\"a\\u0000b\\\"\\\\/\u{2028}\u{1F600}\"]", "json")
  end },
  { "equal tables encode alike, however they were made", function()
    local left, right = {}, {}
    for i = 1, 200 do
      left["k" .. i] = i
      right["k" .. 201 - i] = 201 - i
    end
    check.equal((core.encode(left)), (core.encode(right)))
    check.equal((core.encode({ 1, 2, 3, nil })), "[1,2,3]")
  end },
  { "a table that is met twice is no cycle", function()
    local part = { 1 }
    check.equal((round_trip({ a = part, b = part })), { a = { 1 }, b = { 1 } })
  end },
  { "JSON's null comes back as null inside tables and goes out again", function()
    local value = core.decode("{\"a\":null,\"b\":[null,1]}", "json")
    check.equal(value.a, core.null)
    check.equal(value.b[1], core.null)
    check.equal((core.encode(value)), "{\"a\":null,\"b\":[null,1]}")
    check.returns({ nil, "a userdata cannot be stored", n = 2 }, core.encode(core.null))
  end },
  { "what cannot be stored is refused with the reason", function()
    refused(nil, "nil cannot be stored: use delete")
    refused(print, "a function cannot be stored")
    refused(coroutine.create(print), "a thread cannot be stored")
    refused(io.stdout, "a userdata cannot be stored")
    refused({ print }, "a function inside the table")
    refused({ a = { coroutine.create(print) } }, "a thread inside the table")
    refused({ io.stdout }, "a userdata inside the table")
    refused({ 0 / 0 }, "NaN inside the table")
    refused({ x = -math.huge }, "infinity inside the table")
    refused({ "\xff" }, "a string inside the table is not valid UTF-8")
    refused({ "\xed\xa0\x80" }, "a string inside the table is not valid UTF-8")
    refused({ ["\xc0\x80"] = 1 }, "a string inside the table is not valid UTF-8")
    refused({ ["a\0b"] = 1 }, "a table key with a NUL byte")
    refused({ 1, a = 2 }, "a table with both string keys and a sequence")
    refused({ 1, nil, 3 }, "a sequence with holes")
    refused({ [2] = 1 }, "a sequence with holes")
    local keys = "a table key that is neither a string nor part of a sequence from 1"
    refused({ [0] = 1 }, keys)
    refused({ [1.5] = 1 }, keys)
    refused({ [true] = 1 }, keys)
    refused({ [{}] = 1 }, keys)
    refused({ [math.mininteger] = 1 }, keys)
  end },
  { "cycles are found, near and far", function()
    local near = {}
    near.me = near
    refused(near, "a table that contains itself")
    local far = { {} }
    far[1][1] = { back = far }
    refused(far, "a table that contains itself")
  end },
  { "depth is limited", function()
    check.equal((round_trip(nested(128))), nested(128))
    refused(nested(129), "tables nested too deep")
    refused(nested(100000), "tables nested too deep")
  end },
  { "a table that repeats itself cannot eat all memory", function()
    local value = { string.rep("x", 1000) }
    for _ = 1, 60 do
      value = { value, value }
    end
    refused(value, "the value is too large")
  end },
  { "metamethods are not called", function()
    local value = setmetatable({ a = 1 }, {
      __index = function() error("called") end,
      __pairs = function() error("called") end,
      __len = function() error("called") end,
    })
    check.equal((core.encode(value)), "{\"a\":1}")
  end },
  { "text without a type: canonical numbers are numbers", function()
    local function reads(text, value)
      check.equal(core.decode(text, "raw"), value, "raw " .. text)
    end
    for text, value in pairs({ ["0"] = 0, ["42"] = 42, ["-1"] = -1, ["0.5"] = 0.5, ["-2.25"] = -2.25,
      ["1e+22"] = 1e22, ["-0"] = -0.0, ["9223372036854775807"] = math.maxinteger, ["10.6"] = 10.6 }) do
      reads(text, value)
    end
    for _, text in ipairs({ "", " 1", "1 ", "+5", "007", "1.50", "1.", ".5", "0x10", "inf", "nan", "-inf",
      "infinity", "1e5", "9223372036854775808", "1\0", "v1.2", "true", "1,5", string.rep("1", 400) }) do
      reads(text, text)
    end
  end },
  { "stored bytes that are none of ours are refused", function()
    check.returns({ nil, "an integer that cannot be read", n = 2 }, core.decode("x", "int"))
    check.returns({ nil, "an integer that cannot be read", n = 2 }, core.decode("", "int"))
    check.returns({ nil, "a float that cannot be read", n = 2 }, core.decode("1.5x", "float"))
    check.returns({ nil, "a boolean that cannot be read", n = 2 }, core.decode("yes", "bool"))
    check.returns({ nil, "a value of the unknown type list", n = 2 }, core.decode("yes", "list"))
    for _, text in ipairs({ "", "{", "[1,]", "{\"a\":1}x", "[\"\xff\"]", "[1e999]", "[99999999999999999999]",
      string.rep("[", 5000) }) do
      local value, why = core.decode(text, "json")
      check.equal(value, nil)
      check.truthy(why:find("JSON that cannot be read", 1, true), why)
    end
  end },
  { "JSON scalars and deep JSON of other clients are read", function()
    check.equal(core.decode("5", "json"), 5)
    check.equal(core.decode(" \"a\" ", "json"), "a")
    check.equal(core.decode("null", "json"), core.null)
    local deep = core.decode(string.rep("[", 1000) .. string.rep("]", 1000), "json")
    check.equal(type(deep[1][1][1]), "table")
  end },
  { "thousands of random values come back equal", function()
    local seed = tonumber(os.getenv("HOLDFAST_SEED")) or os.time()
    print("     HOLDFAST_SEED=" .. seed)
    math.randomseed(seed)
    for _ = 1, 5000 do
      local value = random_value(4)
      check.equal((round_trip(value)), value)
    end
  end },
  { "the same under an aggressive collector", function()
    collectgarbage("setpause", 1)
    collectgarbage("setstepmul", 1000)
    math.randomseed(7)
    for _ = 1, 300 do
      local value = random_value(4)
      check.equal((round_trip(value)), value)
    end
    collectgarbage("setpause", 200)
    collectgarbage("setstepmul", 100)
  end },
  { "a locale with a decimal comma changes nothing", function()
    local before = os.setlocale(nil, "numeric")
    for _, locale in ipairs({ "de_DE.UTF-8", "pt_BR.UTF-8", "fr_FR.UTF-8" }) do
      if os.setlocale(locale, "numeric") then
        stored_as(0.5, "0.5", "float")
        stored_as({ 0.5 }, "[0.5]", "json")
        check.equal(core.decode("0.5", "raw"), 0.5)
      end
    end
    os.setlocale(before, "numeric")
  end },
}
