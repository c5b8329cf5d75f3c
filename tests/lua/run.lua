--- run.lua - runs the Lua client's tests: lua5.4 tests/lua/run.lua [--build DIR] [test files]
-- --build DIR: where state.lua and state/core.so were built (DIR/lua); default: Lua's own path.
-- Tests whose file name ends in _live.lua need a cluster, named by HOLDFAST_NODES; without one they are left out.
local here = (arg[0]:match("^(.*/)") or "./")
local files, build = {}, nil
do
  local i = 1
  while arg[i] do
    if arg[i] == "--build" then
      build, i = arg[i + 1], i + 1
    else
      files[#files + 1] = arg[i]
    end
    i = i + 1
  end
end
if build then
  package.path = build .. "/lua/?.lua;" .. package.path
  package.cpath = build .. "/lua/?.so;" .. package.cpath
end
package.path = here .. "?.lua;" .. package.path

local OFFLINE = { "test_values.lua", "test_arguments.lua", "test_calls.lua", "test_together.lua", "test_waiting.lua" }
local LIVE = {
  "test_calls_live.lua",
  "test_locks_live.lua",
  "test_together_live.lua",
  "test_waiting_live.lua",
  "test_watching_live.lua",
  "test_process_live.lua",
  "test_seed_live.lua",
}

if #files == 0 then
  for _, name in ipairs(OFFLINE) do
    files[#files + 1] = here .. name
  end
  for _, name in ipairs(os.getenv("HOLDFAST_NODES") and LIVE or {}) do
    files[#files + 1] = here .. name
  end
  if not os.getenv("HOLDFAST_NODES") then
    print("HOLDFAST_NODES is not set: left out " .. table.concat(LIVE, ", "))
  end
end

-- What test files get: the runner's folder, how to start a Lua with the same paths, and their checks.
local context = {
  here = here,
  examples = here .. "../../lua/examples/",
  lua = string.format("LUA_PATH='%s' LUA_CPATH='%s' %s", package.path, package.cpath, arg[-1] or "lua5.4"),
  check = require("check"),
}

-- The module of fork.c, compiled for this run; nil without a compiler.
function context.fork_module()
  local path = os.tmpname()
  local command = "cc -shared -fPIC -I/usr/include/lua5.4 -I/usr/local/include -o %s %sfork.c"
  local loaded = os.execute(string.format(command, path, here)) and package.loadlib(path, "luaopen_fork")
  os.remove(path)
  return loaded and loaded()
end

-- A command past the client's calls. -> the reply
function context.call(...)
  local client <close> = require("state.core").open({})
  local ok, reply = client:write(...)
  return assert(ok and reply, reply)
end

-- The session that holds a lock.
function context.session_of(lock)
  local holders = context.call("LOCK", "INFO", lock)[6]
  return tostring(holders[1][2])
end

local passed, failed = 0, 0
for _, file in ipairs(files) do
  local name = file:match("([^/]*)%.lua$")
  for _, case in ipairs(assert(loadfile(file))(context)) do
    local ok, message = xpcall(case[2], debug.traceback)
    print(string.format("%s %s: %s", ok and "ok  " or "FAIL", name, case[1]))
    if ok then
      passed = passed + 1
    else
      failed = failed + 1
      print("     " .. tostring(message):gsub("\n", "\n     "))
    end
  end
end
print(string.format("%d passed, %d failed", passed, failed))
os.exit(failed == 0 and passed > 0, true)
