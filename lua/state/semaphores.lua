--- state/semaphores.lua - locks that several may hold.
local check = require "state.check"
local locks = require "state.locks"

local insert, remove = table.insert, table.remove
local format = string.format
local math_type = math.type
local bad_argument, check_lock_name, wait_milliseconds = check.bad_argument, check.lock_name, check.wait_milliseconds

local acquire, LOCK_TIMEOUT_DEFAULT, NOT_HELD = locks.acquire, locks.LOCK_TIMEOUT_DEFAULT, locks.NOT_HELD

local PERMITS_MAX = 1000000

local function check_permits(name, permits, n, max)
  if math_type(permits) ~= "integer" or permits < 1 or permits > max then
    bad_argument(n, name, format("1 to %d permits (integer) expected", max))
  end
  return permits
end

local function bind_semaphores(state, conn)
  ---@class holdfast.State
  local s = state

  ---@class holdfast.Semaphore
  ---@field acquire fun(timeout: number?, n: integer?): boolean, holdfast.Lock|string, holdfast.Code?
  ---@field try_acquire fun(n: integer?): boolean, holdfast.Lock|string, holdfast.Code?
  ---@field release fun(): boolean, string?, holdfast.Code?

  --- A lock that up to `permits` may hold at once. acquire waits up to timeout (30 seconds) for n permits (1) and gives
  --- a lock, try_acquire does not wait; release gives back what this client acquired last.
  ---@param name holdfast.Key
  ---@param permits integer the same for all who use this name
  ---@return holdfast.Semaphore
  function s.semaphore(name, permits)
    local full = check_lock_name(conn, "semaphore", name)
    check_permits("semaphore", permits, 2, PERMITS_MAX)
    local semaphore, held = {}, {}

    local function take(ask, n)
      ask.words = { "PERMITS", format("%d", n), "OF", format("%d", permits) }
      local ok, lock, code = acquire(conn, full, ask)
      if ok then
        insert(held, lock)
      end
      return ok, lock, code
    end

    function semaphore.acquire(timeout, n)
      local ms, why = wait_milliseconds(timeout or LOCK_TIMEOUT_DEFAULT)
      if not ms then
        bad_argument(1, "acquire", why, 2)
      end
      return take({ wait_ms = ms }, check_permits("acquire", n or 1, 2, permits))
    end

    function semaphore.try_acquire(n)
      return take({ wait_ms = 0 }, check_permits("try_acquire", n or 1, 1, permits))
    end

    function semaphore.release()
      local lock = remove(held)
      if not lock then
        return false, NOT_HELD
      end
      return lock.release()
    end

    return semaphore
  end
end

return { bind = bind_semaphores }
