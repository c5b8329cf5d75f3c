--- state/locks.lua - locks: taken, held, lost and released.
local core = require "state.core"
local check = require "state.check"
local link = require "state.link"

local ipairs, next, pcall, setmetatable, tostring, type = ipairs, next, pcall, setmetatable, tostring, type
local insert, pack, remove, unpack = table.insert, table.pack, table.remove, table.unpack
local format, sub = string.format, string.sub
local bad_argument, expected, milliseconds = check.bad_argument, check.expected, check.milliseconds
local check_ttl, check_fields = check.ttl, check.fields
local check_lock_name, wait_milliseconds = check.lock_name, check.wait_milliseconds
local read, write, wait = link.read, link.write, link.wait

local LOCK_TIMEOUT_DEFAULT = 30 -- Seconds.
local LOCK_OPTIONS = { ttl = true, timeout = true, reentrant = true, shared = true }
local NOT_HELD = "lock not held by this session"

-- The second argument of lock and try_lock -> what to ask for: { wait_ms =, ttl_ms =, words = }. A number alone means
-- the field `alone`. wait is the default timeout.
local function check_lock_options(name, options, n, alone, wait_default)
  if options == nil then
    options = {}
  elseif type(options) == "number" then
    options = { [alone] = options }
  elseif type(options) ~= "table" then
    bad_argument(n, name, expected(alone .. " (number) or options (table)", options))
  end
  check_fields(name, options, n, LOCK_OPTIONS)
  local ask = { words = {} }
  local why
  ask.wait_ms, why = wait_milliseconds(options.timeout or wait_default)
  if ask.wait_ms and options.ttl ~= nil then
    ask.ttl_ms, why = milliseconds(options.ttl)
  end
  if why then
    bad_argument(n, name, why)
  end
  for _, word in ipairs({ "reentrant", "shared" }) do
    if options[word] then
      ask.words[#ask.words + 1] = word:upper()
    end
  end
  return ask
end

-- Requests whose outcome is not known may be granted yet: the next chance is taken to give them up.
local function settle_doubts(conn)
  local doubt = next(conn.doubts)
  while doubt and write(conn, "LOCK", "RELEASE", doubt, "-") do
    conn.doubts[doubt] = nil
    doubt = next(conn.doubts)
  end
  conn.notice_losses()
  local token, full = next(conn.stale)
  while token and write(conn, "LOCK", "RELEASE", full, "-", "TOKEN", format("%d", token)) do
    conn.stale[token] = nil
    token, full = next(conn.stale)
  end
end

-- Forget a lock of this client.
local function drop_lock(conn, lock, entry)
  local held = conn.held[entry.full]
  for i = #(held or {}), 1, -1 do
    if held[i] == lock then
      remove(held, i)
    end
  end
  if held and #held == 0 then
    conn.held[entry.full] = nil
  end
end

-- The holder will not get it back: tell whoever wanted to know, once.
local function lose_lock(conn, lock, entry)
  if entry.over then
    return
  end
  entry.over = true
  drop_lock(conn, lock, entry)
  for _, fn in ipairs(entry.on_lost) do
    fn(lock)
  end
end

local function lock_is_alive(conn, entry)
  local now = core.now_ms()
  return not entry.over
    and conn.handle ~= nil
    and (not entry.until_ms or now < entry.until_ms)
    and conn.handle:alive(entry.session)
end

-- A lock that is over for us, while its session is still ours: the cluster may take it for held. Given back later.
local function note_stale(conn, lock, entry)
  if conn.handle and conn.handle:session() == entry.session then
    conn.stale[lock.token] = entry.full
  end
end

-- The thread that keeps the session knows first that it is lost, and cannot run Lua: so each request looks.
local function notice_losses(conn)
  local lost = {}
  for _, held in next, conn.held do
    for _, lock in ipairs(held) do
      if not lock_is_alive(conn, conn.entries[lock]) then
        insert(lost, lock)
      end
    end
  end
  for _, lock in ipairs(lost) do
    note_stale(conn, lock, conn.entries[lock])
    lose_lock(conn, lock, conn.entries[lock])
  end
end

-- -> true; or false, message, code
local function release_lock(conn, lock, entry)
  if entry.over then
    return false, NOT_HELD, "lost"
  end
  local ok, released, code = write(conn, "LOCK", "RELEASE", entry.full, "-", "TOKEN", format("%d", lock.token))
  if not ok then
    if code == "unknown" or code == "unavailable" then
      conn.doubts[entry.full] = true
    end
    return false, released, code
  elseif released == 0 then
    lose_lock(conn, lock, entry)
    return false, NOT_HELD, "lost"
  end
  entry.over = true
  drop_lock(conn, lock, entry)
  return true
end

---@class holdfast.Lock
---@field name string
---@field token integer grows with each grant of this lock; the cluster's GUARD refuses stale ones
---@field alive fun(): boolean is it still held, for sure? Asks nobody, and never says yes too late
---@field release fun(): boolean, string?, holdfast.Code?
---@field on_lost fun(fn: fun(lock: holdfast.Lock)) fn is called once, in the first call of this client after the loss
local function lock_new(conn, full, token, ask, sent_ms)
  local entry = { full = full, session = conn.handle:session(), on_lost = {}, holder = ask.holder }
  entry.until_ms = ask.ttl_ms and sent_ms + ask.ttl_ms
  local lock = { name = sub(full, #conn.prefix + 1), token = token }
  function lock.alive()
    local alive = lock_is_alive(conn, entry)
    if not alive and not entry.over then
      note_stale(conn, lock, entry)
      lose_lock(conn, lock, entry)
    end
    return alive
  end
  function lock.release()
    return release_lock(conn, lock, entry)
  end
  function lock.on_lost(fn)
    if type(fn) ~= "function" then
      bad_argument(1, "on_lost", expected("function", fn), 2)
    end
    entry.on_lost[#entry.on_lost + 1] = fn
  end
  conn.held[full] = conn.held[full] or {}
  insert(conn.held[full], lock)
  conn.entries[lock] = entry
  return lock
end

-- -> true, lock; or false, message, code
local function acquire(conn, full, ask)
  settle_doubts(conn)
  local words = { unpack(ask.words) }
  if ask.ttl_ms then
    words[#words + 1] = "TTL"
    words[#words + 1] = ask.ttl_ms
  end
  if ask.wait_ms > 0 then
    words[#words + 1] = "WAIT"
    words[#words + 1] = format("%d", ask.wait_ms)
  end
  local sent_ms = core.now_ms()
  local ok, token, code = wait(conn, ask.wait_ms, "LOCK", "ACQUIRE", full, "-", unpack(words))
  if not ok then
    if code == "unknown" then
      conn.doubts[full] = true
    end
    return false, token, code
  elseif not token then
    if ask.wait_ms > 0 then
      return false, "timeout", "timeout"
    end
    return false, "lock is not free: " .. sub(full, #conn.prefix + 1), "refused"
  end
  -- A lease that was waited for begins when it is granted, which is not before the request was sent.
  return true, lock_new(conn, full, token, ask, sent_ms)
end

-- What `fn` returns when called with a lock that is released afterwards; or nil, message.
local function run_locked(lock, fn)
  local results = pack(pcall(fn, lock))
  lock.release()
  if not results[1] then
    return nil, "Function execution failed: " .. tostring(results[2])
  end
  return unpack(results, 2, results.n)
end

-- RESP2 has no maps: names and values by turns.
local function fields_of(flat)
  local fields = {}
  for i = 1, #flat, 2 do
    fields[flat[i]] = flat[i + 1]
  end
  return fields
end

-- -> holder's fields or false, waiters; or nil, message, code
local function lock_state(conn, full)
  local ok, info, code = read(conn, "LOCK", "INFO", full)
  if not ok then
    return nil, info, code
  elseif not info then
    return false, {}
  end
  local fields = fields_of(info)
  local first = fields.holders[1]
  return first and fields_of(first) or false, fields.waiters
end

local function holder_name(holder)
  return holder.name ~= "" and holder.name or format("session %d", holder.session)
end

-- with_lock(name, fn, timeout) or with_lock(name, holder, secs, fn) -> fn, what to ask for
local function check_with_lock(second, third, fourth)
  local fn, ask = second
  if type(second) == "string" then
    fn = fourth
    ask = { words = {}, wait_ms = 0, ttl_ms = check_ttl("with_lock", third, 3), holder = second }
  else
    ask = check_lock_options("with_lock", third, 3, "timeout", LOCK_TIMEOUT_DEFAULT)
  end
  if type(fn) ~= "function" then
    bad_argument(type(second) == "string" and 4 or 2, "with_lock", expected("function", fn))
  end
  return fn, ask
end

local function bind_locks(state, conn)
  ---@class holdfast.State
  local s = state
  conn.held, conn.doubts, conn.stale = {}, {}, {}
  conn.entries = setmetatable({}, { __mode = "k" })
  conn.notice_losses = function()
    if next(conn.held) then
      notice_losses(conn)
    end
  end

  --- Take a lock if it is free. It lives as long as this client's session, or for `ttl` seconds.
  ---@param name holdfast.Key
  ---@param options? number|{ ttl: number?, reentrant: boolean?, shared: boolean? } ttl in seconds, or options
  ---@return boolean ok
  ---@return holdfast.Lock|string lock or message
  ---@return holdfast.Code? code "refused" when it is not free
  function s.try_lock(name, options)
    local full = check_lock_name(conn, "try_lock", name)
    local ask = check_lock_options("try_lock", options, 2, "ttl", 0)
    return acquire(conn, full, ask)
  end

  --- Wait for a lock; whoever asks first gets it first. With a string as second argument, the tool's other dialect:
  --- take the lock if it is free, for `secs` seconds at most.
  ---@param name holdfast.Key
  ---@param options? number|string|{ timeout: number?, ttl: number?, reentrant: boolean?, shared: boolean? }
  ---@param secs? number only after a holder's name
  ---@return boolean ok
  ---@return holdfast.Lock|string lock or message
  ---@return holdfast.Code? code "timeout" when others held it all the time
  function s.lock(name, options, secs)
    local full = check_lock_name(conn, "lock", name)
    local ask
    if type(options) == "string" then
      ask = { words = {}, wait_ms = 0, ttl_ms = check_ttl("lock", secs, 3), holder = options }
    else
      ask = check_lock_options("lock", options, 2, "timeout", LOCK_TIMEOUT_DEFAULT)
    end
    return acquire(conn, full, ask)
  end

  --- Release the lock that this client took last under that name (and, in the other dialect, for that holder).
  ---@param name holdfast.Key
  ---@param holder? string
  ---@return boolean ok
  ---@return string? message
  ---@return holdfast.Code? code
  function s.unlock(name, holder)
    local full = check_lock_name(conn, "unlock", name)
    if holder ~= nil and type(holder) ~= "string" then
      bad_argument(2, "unlock", expected("holder (string)", holder), 2)
    end
    local held = conn.held[full]
    local lock = held and held[#held]
    if not lock or holder and conn.entries[lock].holder ~= holder then
      return false, NOT_HELD
    end
    return lock.release()
  end

  --- Run `fn` with the lock held: with_lock(name, fn[, timeout or options]), or with_lock(name, holder, secs, fn).
  ---@return any ... what fn returns; nil, message, code when it was not run; nil, message when it raised
  function s.with_lock(name, second, third, fourth)
    local full = check_lock_name(conn, "with_lock", name)
    local fn, ask = check_with_lock(second, third, fourth)
    local ok, lock, code = acquire(conn, full, ask)
    if not ok then
      return nil, lock, code
    end
    return run_locked(lock, fn)
  end

  --- Does anybody hold the lock?
  ---@param name holdfast.Key
  ---@return boolean locked
  ---@return string? holder or message
  ---@return integer|holdfast.Code|nil token or code
  function s.is_locked(name)
    local holder, message, code = lock_state(conn, check_lock_name(conn, "is_locked", name))
    if holder == nil then
      return false, message, code
    elseif not holder then
      return false
    end
    return true, holder_name(holder), holder.token
  end

  --- Who holds the lock, since when, for how long still (-1: no limit), and how many wait. nil and a message when it is
  --- free.
  ---@param name holdfast.Key
  ---@return { holder: string, token: integer, held_for: number, ttl: number, waiters: integer }? info
  ---@return string? message
  ---@return holdfast.Code? code
  function s.lock_info(name)
    local holder, waiters, code = lock_state(conn, check_lock_name(conn, "lock_info", name))
    if holder == nil then
      return nil, waiters, code
    elseif not holder then
      return nil, "lock not found: " .. name
    end
    return {
      holder = holder_name(holder),
      token = holder.token,
      held_for = holder.held / 1000,
      ttl = holder.left < 0 and holder.left or holder.left / 1000,
      waiters = #waiters,
    }
  end
end

-- What is built on locks takes them by `acquire`.
return {
  LOCK_TIMEOUT_DEFAULT = LOCK_TIMEOUT_DEFAULT,
  NOT_HELD = NOT_HELD,
  acquire = acquire,
  lock_state = lock_state,
  holder_name = holder_name,
  bind = bind_locks,
}
