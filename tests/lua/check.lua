--- check.lua - what the tests of the Lua client say about what they got. Each check raises at its caller's line.
local check = {}

--- Text of a value, tables with sorted keys: equal text means equal in value and in type, integers and floats apart.
local function show(value, depth)
  if type(value) == "string" then
    return string.format("%q", value)
  elseif math.type(value) == "float" then
    return string.format("float %.17g", value)
  elseif type(value) ~= "table" then
    return tostring(value)
  elseif (depth or 0) > 200 then
    return "..."
  end
  local parts = {}
  for k, v in pairs(value) do
    parts[#parts + 1] = "[" .. show(k) .. "]=" .. show(v, (depth or 0) + 1)
  end
  table.sort(parts)
  return "{" .. table.concat(parts, ",") .. "}"
end
check.show = show

function check.equal(got, want, what)
  if show(got) ~= show(want) then
    error(string.format("%sgot %s, want %s", what and what .. ": " or "", show(got), show(want)), 2)
  end
end

--- All that a call returned, and no value more: check.returns({true, 3}, state.delete("k")).
function check.returns(want, ...)
  local n = want.n or #want
  if select("#", ...) ~= n then
    error(string.format("got %d values %s, want %d: %s", select("#", ...), show({ ... }), n, show(want)), 2)
  end
  local got = { ... }
  for i = 1, n do
    if show(got[i]) ~= show(want[i]) then
      error(string.format("value %d: got %s, want %s", i, show(got[i]), show(want[i])), 2)
    end
  end
end

--- The call raises with `text` in its message (plain text, not a pattern).
function check.raises(text, fn, ...)
  local ok, message = pcall(fn, ...)
  if ok then
    error("did not raise: " .. text, 2)
  elseif not string.find(tostring(message), text, 1, true) then
    error(string.format("raised %q, want %q", tostring(message), text), 2)
  end
end

function check.truthy(value, what)
  if not value then
    error((what or "value") .. " is " .. tostring(value), 2)
  end
  return value
end

return check
