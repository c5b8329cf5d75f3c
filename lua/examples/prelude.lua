--- prelude.lua - the few names of a workflow tool that the examples use, so that each runs by itself:
--
--     lua5.4 lua/examples/02_workers.lua              every task of the file, in its order
--     lua5.4 lua/examples/02_workers.lua NAME...      only the tasks named
--
-- A task runs its command as soon as it gets one, and prints what it returned: "NAME: true, All workers completed".
-- Exit status 1 when a command raised.

local wanted = {}
for _, name in ipairs(arg) do
  wanted[name] = true
end

local function show(value)
  if type(value) ~= "table" then
    return tostring(value)
  end
  local parts = {}
  for k, v in pairs(value) do
    parts[#parts + 1] = tostring(k) .. "=" .. show(v)
  end
  table.sort(parts)
  return "{" .. table.concat(parts, ", ") .. "}"
end

local function run(name, fn)
  local results = table.pack(pcall(fn))
  if not results[1] then
    io.stderr:write(name, ": ", tostring(results[2]), "\n")
    os.exit(1, true)
  end
  local words = {}
  for i = 2, results.n do
    words[#words + 1] = show(results[i])
  end
  print(name .. ": " .. table.concat(words, ", "))
end

--- task(name):command(fn)
function task(name)
  local t = {}
  function t.command(self, fn)
    if #arg == 0 or wanted[name] then
      run(name, fn)
    end
    return self
  end
  return t
end

log = {}
for _, level in ipairs({ "debug", "info", "warn", "error" }) do
  log[level] = function(text)
    print(string.format("[%s] %s", level, text))
  end
end

-- Not every shell exports these two.
local getenv = os.getenv
local defaults = { HOSTNAME = "localhost", WORKER_ID = "1" }
function os.getenv(name) -- luacheck: ignore
  return getenv(name) or defaults[name]
end

function call_api()
  return not getenv("API_FAILS")
end

function process_dataset()
  return { rows = 3, mean = 2.5, columns = { "name", "size" } }
end

function deploy_with_new_algorithm()
  log.info("deploying with the new algorithm")
end

function deploy_traditional()
  log.info("deploying the traditional way")
end
