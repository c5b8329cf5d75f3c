--- test_process_live.lua - the client as part of a process: sockets, the collector, fork(); against a cluster.
local context = ...
local check = context.check
local state = require "state"

local run = string.format("process%d-%p", os.time(), {})

local function connect(name)
  return state.connect({ namespace = run .. "-" .. name })
end

-- How many sockets this process has open.
local function sockets()
  local pipe = assert(io.popen("ls -l /proc/$PPID/fd | grep -c socket:"))
  local count = tonumber(pipe:read("a"))
  pipe:close()
  return count
end

local function increments(client, n)
  local last = 0
  for _ = 1, n do
    local now = client.increment("n")
    if not now or now <= last then
      return false -- Somebody else's answer.
    end
    last = now
  end
  return true
end

return {
  { "close leaves no socket open", function()
    local before = sockets()
    for _ = 1, 20 do
      local client = connect("close")
      client.get("k")
      client.close()
    end
    check.equal(sockets(), before)
  end },
  { "clients that are dropped are closed by the collector", function()
    local before = sockets()
    for _ = 1, 20 do
      connect("dropped").get("k")
    end
    collectgarbage()
    collectgarbage()
    check.equal(sockets(), before)
  end },
  { "all calls under an aggressive collector", function()
    collectgarbage("setpause", 1)
    collectgarbage("setstepmul", 1000)
    local client <close> = connect("collector")
    for i = 1, 200 do
      check.truthy(client.set("k" .. i, { i, name = nil, { deep = { tostring(i) } } }))
      check.equal(client.list_push("l", { i }), i)
    end
    for i = 1, 50 do
      check.returns({ true, i }, client.transaction(function(tx)
        tx.set("t" .. i % 3, { tostring(i) })
        return tx.increment("k1000")
      end))
      check.truthy(client.rate_limit("limit", 1000, 3600))
      check.truthy(client.circuit("circuit").allow())
      check.returns({ { "cached" } }, client.cached("t" .. 4 + i % 5, 60, function()
        return { "cached" }
      end))
    end
    check.equal(client.latch("latch", 1).count_down(), 0)
    check.returns({ true }, client.latch("latch", 1).await(30))
    check.truthy(client.election("e", "me").campaign(30))
    check.equal(client.election("e").leader(), "me")
    check.truthy(client.clear("[tec]*"))
    check.truthy(client.clear("l?*"))
    check.returns({ true, true }, client.delete("k1000"))
    check.equal(client.get("k7"), { 7, { deep = { "7" } } })
    check.equal(#client.keys(), 201)
    check.equal(client.get_all().k200, { 200, { deep = { "200" } } })
    check.returns({ true, 201 }, client.clear())
    collectgarbage("setpause", 200)
    collectgarbage("setstepmul", 100)
  end },
  { "a fork()ed child opens its own connection", function()
    local fork = context.fork_module()
    if not fork then
      print("     no compiler: left out")
      return
    end
    local client <close> = connect("fork")
    check.returns({ true, false }, client.delete("n"))
    local children = {}
    for i = 1, 3 do
      local pid = fork.fork()
      if pid == 0 then
        fork.leave(increments(client, 50) and 0 or 1)
      end
      children[i] = pid
    end
    local ok = increments(client, 50)
    for _, pid in ipairs(children) do
      check.equal(fork.wait(pid), 0, "a child's exit status")
    end
    check.truthy(ok, "the parent's answers")
    check.returns({ 200 }, client.get("n"))
    client.clear()
  end },
  { "a child that closes the client leaves its parent's alone", function()
    local fork = context.fork_module()
    if not fork then
      print("     no compiler: left out")
      return
    end
    local client <close> = connect("child")
    client.set("k", 1)
    local pid = fork.fork()
    if pid == 0 then
      client.close()
      fork.leave(0)
    end
    check.equal(fork.wait(pid), 0)
    check.returns({ 1 }, client.get("k"))
    client.clear()
  end },
}
