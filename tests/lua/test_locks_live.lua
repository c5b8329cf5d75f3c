--- test_locks_live.lua - locks and semaphores against a cluster: who gets them, who loses them, and what a program hears.
local context = ...
local check = context.check
local state = require "state"

local run = string.format("locks%d-%p", os.time(), {})

local function connect(options)
  options = options or {}
  options.namespace = run
  return state.connect(options)
end

-- Ask until it is so; the tests' one way to let time pass.
local function until_true(condition, what)
  local stop = os.time() + 20
  while not condition() do
    check.truthy(os.time() < stop, what)
    state.exists("until_true")
  end
end

return {
  { "one holds a lock, and tokens grow", function()
    local a <close> = connect()
    local b <close> = connect()
    local ok, lock = a.try_lock("one")
    check.truthy(ok and lock.alive())
    local refused, message, code = b.try_lock("one")
    check.returns({ false, "lock is not free: one", "refused" }, refused, message, code)
    check.returns({ false, "timeout", "timeout" }, b.lock("one", 0.2))
    check.returns({ false, "lock not held by this session" }, b.unlock("one"))
    local locked, holder, token = a.is_locked("one")
    check.truthy(locked and holder:find(":"), "is_locked")
    check.equal(token, lock.token)
    check.returns({ true }, a.unlock("one"))
    check.returns({ false, "lock not held by this session" }, a.unlock("one"))
    check.equal(lock.alive(), false)
    check.returns({ false }, a.is_locked("one"))
    local _, second = b.try_lock("one")
    check.truthy(second.token > lock.token)
    check.returns({ true }, second.release())
    check.returns({ false, "lock not held by this session", "lost" }, second.release())
  end },
  { "with_lock returns what the function returns, and releases whatever happens", function()
    local a <close> = connect()
    check.returns({ 1, nil, 3, n = 3 }, a.with_lock("with", function(lock)
      check.truthy(lock.alive())
      check.equal(lock.name, "with")
      return 1, nil, 3
    end))
    check.returns({ false }, a.is_locked("with"))
    local got, message = a.with_lock("with", function()
      error("no luck", 0)
    end, 5)
    check.returns({ nil, "Function execution failed: no luck", n = 2 }, got, message)
    check.returns({ false }, a.is_locked("with"))
    a.lock("with")
    check.returns({ nil, "timeout", "timeout", n = 3 }, a.with_lock("with", error, 0.05))
    a.unlock("with")
  end },
  { "the other dialect names a holder and bounds the hold", function()
    local a <close> = connect()
    local b <close> = connect()
    check.truthy(a.lock("dialect", "me", 60))
    check.equal(b.lock("dialect", "you", 60), false)
    check.returns({ false, "lock not held by this session" }, a.unlock("dialect", "you"))
    check.returns({ true }, a.unlock("dialect", "me"))
    check.returns({ "done" }, b.with_lock("dialect", "you", 60, function()
      return "done"
    end))
    local _, lock = a.lock("dialect", "me", 0.2)
    until_true(function()
      return not lock.alive()
    end, "a lease that ends")
    until_true(function()
      return b.try_lock("dialect")
    end, "a lock whose lease has ended is free")
    check.returns({ false, "lock not held by this session", "lost" }, lock.release())
  end },
  { "reentrant only when asked; shared ones exclude exclusive ones", function()
    local a <close> = connect()
    local b <close> = connect()
    local _, first = a.try_lock("again", { reentrant = true })
    check.equal(a.try_lock("again"), false)
    local _, second = a.try_lock("again", { reentrant = true })
    check.equal(second.token, first.token)
    check.returns({ true }, a.unlock("again"))
    check.equal(b.try_lock("again"), false)
    check.returns({ true }, a.unlock("again"))
    check.truthy(a.try_lock("again", { shared = true }))
    check.truthy(b.try_lock("again", { shared = true }))
    check.equal(b.try_lock("again"), false)
  end },
  { "lock_info tells, and a closed client's locks are free", function()
    local a = connect()
    local b <close> = connect()
    check.truthy(a.lock("info", { ttl = 60 }))
    local info = b.lock_info("info")
    check.truthy(info.ttl > 50 and info.ttl <= 60 and info.held_for >= 0 and info.waiters == 0)
    check.truthy(a.lock("forever"))
    check.equal(b.lock_info("forever").ttl, -1)
    check.truthy(b.stats().active_locks >= 2)
    a.close()
    check.returns({ nil, "lock not found: info", n = 2 }, b.lock_info("info"))
    check.truthy(b.try_lock("forever"))
  end },
  { "a session that is ended by others takes its locks with it", function()
    local a <close> = connect({ session_ttl = 0.4 })
    local b <close> = connect()
    local _, lock = a.lock("lost")
    local heard = 0
    lock.on_lost(function(which)
      check.equal(which, lock)
      heard = heard + 1
    end)
    check.truthy(lock.alive())
    local started = os.time()
    until_true(function()
      return os.time() > started + 1
    end)
    check.truthy(lock.alive(), "a session kept alive while the program does not use it")
    local session = b.lock_info("lost") and context.session_of(run .. ":lost")
    context.call("SESSION", "CLOSE", session)
    until_true(function()
      return not lock.alive()
    end, "the keeper notices")
    check.equal(heard, 1)
    check.truthy(b.try_lock("lost"))
    check.returns({ true }, a.set("still", "works"))
    check.returns({ false, "lock not held by this session" }, a.unlock("lost"))
  end },
  { "a semaphore has as many holders as permits", function()
    local a <close> = connect()
    local b <close> = connect()
    local one, two = a.semaphore("sem", 3), b.semaphore("sem", 3)
    check.truthy(one.acquire(5, 2))
    check.truthy(two.acquire())
    check.equal(two.try_acquire(), false)
    check.returns({ false, "timeout", "timeout" }, one.acquire(0.05))
    check.returns({ true }, one.release())
    check.returns({ false, "lock not held by this session" }, one.release())
    check.truthy(two.try_acquire(2))
    local other = a.semaphore("sem", 4)
    local ok, message = other.try_acquire()
    check.equal(ok, false)
    check.truthy(message:find("another number of permits"), message)
    check.raises("bad argument #2 to 'acquire' (1 to 3 permits (integer) expected)", one.acquire, 1, 4)
  end },
  { "a fork()ed child has not its parent's locks", function()
    local fork = context.fork_module()
    if not fork then
      print("     no compiler: left out")
      return
    end
    local a <close> = connect()
    local _, lock = a.lock("forked")
    local pid = fork.fork()
    if pid == 0 then
      local good = not lock.alive() and not lock.release() and not a.try_lock("forked") and a.try_lock("child's")
      fork.leave(good and 0 or 1)
    end
    check.equal(fork.wait(pid), 0)
    check.truthy(lock.alive())
    check.returns({ true }, lock.release())
  end },
  { "workers take turns", function()
    local fork = context.fork_module()
    if not fork then
      print("     no compiler: left out")
      return
    end
    local a <close> = connect()
    a.set("turns", 0)
    local children = {}
    for i = 1, 4 do
      local pid = fork.fork()
      if pid == 0 then
        local mine = connect()
        for _ = 1, 25 do
          local ok = mine.with_lock("turn", function()
            return mine.set("turns", mine.get("turns") + 1)
          end)
          if not ok then
            fork.leave(1)
          end
        end
        fork.leave(0)
      end
      children[i] = pid
    end
    for _, pid in ipairs(children) do
      check.equal(fork.wait(pid), 0)
    end
    check.returns({ 100 }, a.get("turns"))
  end },
}
