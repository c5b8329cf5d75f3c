--- state/gates.lua - waiting for each other: latches and barriers.
-- What opens is a list with elements in it, and who waits, waits for an element: the cluster wakes waiters of a list in
-- the order of arrival, at whatever node. A latch's list keeps its one element, which goes round; a barrier's has one
-- for each who waits.
local check = require "state.check"
local link = require "state.link"

local floor, format, math_type = math.floor, string.format, math.type
local bad_argument, check_key, wait_milliseconds = check.bad_argument, check.key, check.wait_milliseconds
local read, write, wait = link.read, link.write, link.wait

local TIMEOUT_DEFAULT = 30 -- Seconds.
local LATCH_MAX = 1000000
local BARRIER_MAX = 1000
local GATE_TTL_S = "90000" -- What is left of a barrier's round is gone a little after the longest wait.

-- KEYS: the count, the gate. ARGV: how many there are at first, how many are done now.
local COUNT_DOWN = [[
local left = tonumber(redis.call('GET', KEYS[1]) or ARGV[1]) - tonumber(ARGV[2])
left = left > 0 and left or 0
redis.call('VSET', KEYS[1], string.format('%d', left), 'TYPE', 'int')
if left == 0 and redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('RPUSH', KEYS[2], 'open')
end
return left]]

-- KEYS: the barrier, a hash. ARGV: how many must come, the time to live of what is left over. Answers the round, and
-- whether it is full now. The gate's name is made here, as only the script knows the round.
local ARRIVE = [[
local round = redis.call('HINCRBY', KEYS[1], 'round', 0)
local n = redis.call('HINCRBY', KEYS[1], 'n', 1)
if n < tonumber(ARGV[1]) then
  return {round, 0}
end
redis.call('HSET', KEYS[1], 'n', 0, 'round', round + 1)
local gate = KEYS[1] .. ':' .. string.format('%d', round)
for i = 2, n do
  redis.call('RPUSH', gate, 'open')
end
if n > 1 then
  redis.call('EXPIRE', gate, ARGV[2])
end
return {round, 1}]]

-- Somebody has waited long enough. KEYS: the barrier. ARGV: its round. Answers whether that has gone off meanwhile.
local WITHDRAW = [[
if redis.call('HGET', KEYS[1], 'round') ~= ARGV[1] then
  return 1
end
redis.call('HINCRBY', KEYS[1], 'n', -1)
return 0]]

local function check_count(name, count, n, max)
  if math_type(count) ~= "integer" or count < 1 or count > max then
    bad_argument(n, name, format("1 to %d (integer) expected", max))
  end
  return count
end

-- Seconds, as blocking commands take them: 0 would be for ever.
local function seconds(ms)
  return format("%.3f", ms / 1000)
end

-- -> true; or false, message, code
local function pass(ok, answer, code)
  if not ok then
    return false, answer, code
  elseif not answer then
    return false, "timeout", "timeout"
  end
  return true
end

local function bind_gates(state, conn)
  ---@class holdfast.State
  local s = state

  ---@class holdfast.Latch
  ---@field count_down fun(by: integer?): integer?, string?, holdfast.Code? how many are left
  ---@field await fun(timeout: number?): boolean, string?, holdfast.Code? true when nothing is left
  ---@field count fun(): integer?, string?, holdfast.Code?
  ---@field reset fun(): boolean, string?, holdfast.Code? forgets it; who waits goes on waiting

  --- A latch that opens for good when it was counted down n times. Its name is a key.
  ---@param name holdfast.Key
  ---@param n integer the same for all who use this name
  ---@return holdfast.Latch
  function s.latch(name, n)
    local full = check_key(conn, "latch", name)
    check_count("latch", n, 2, LATCH_MAX)
    local gate, latch, first = full .. ":gate", {}, format("%d", n)

    function latch.count_down(by)
      local done = check_count("count_down", by or 1, 1, LATCH_MAX)
      local ok, left, code = write(conn, "EVAL", COUNT_DOWN, "2", full, gate, first, format("%d", done))
      if not ok then
        return nil, left, code
      end
      return left
    end

    function latch.await(timeout)
      local ms, why = wait_milliseconds(timeout or TIMEOUT_DEFAULT)
      if not ms then
        bad_argument(1, "await", why, 2)
      elseif ms == 0 then
        local ok, length, code = read(conn, "LLEN", gate)
        if ok then
          length = length > 0
        end
        return pass(ok, length, code)
      end
      return pass(wait(conn, ms, "BLMOVE", gate, gate, "LEFT", "RIGHT", seconds(ms)))
    end

    function latch.count()
      local ok, left, code = read(conn, "GET", full)
      if not ok then
        return nil, left, code
      end
      return left and floor(left) or n
    end

    function latch.reset()
      local ok, message, code = write(conn, "DEL", full, gate)
      if not ok then
        return false, message, code
      end
      return true
    end

    return latch
  end

  ---@class holdfast.Barrier
  ---@field await fun(timeout: number?): boolean, boolean|string|nil, holdfast.Code? true, and whether this one came last

  --- A barrier that lets n pass together, again and again. Who waits in vain for `timeout` (30 seconds) takes itself
  --- off the count; one that dies while it waits stays on it. Its name is a key.
  ---@param name holdfast.Key
  ---@param n integer the same for all who use this name
  ---@return holdfast.Barrier
  function s.barrier(name, n)
    local full = check_key(conn, "barrier", name)
    check_count("barrier", n, 2, BARRIER_MAX)
    local barrier = {}

    -- The round's gate has an element for each of them.
    local function pass_gate(round, ms)
      return pass(wait(conn, ms, "BLPOP", full .. ":" .. format("%d", round), seconds(ms)))
    end

    function barrier.await(timeout)
      local ms, why = wait_milliseconds(timeout or TIMEOUT_DEFAULT)
      if not ms then
        bad_argument(1, "await", why, 2)
      end
      ms = ms > 0 and ms or 1
      local ok, arrived, code = write(conn, "EVAL", ARRIVE, "1", full, format("%d", n), GATE_TTL_S)
      if not ok then
        return false, arrived, code
      elseif arrived[2] == 1 then
        return true, true
      end
      local message
      ok, message, code = pass_gate(arrived[1], ms)
      if ok then
        return true, false
      end
      local sent, gone = write(conn, "EVAL", WITHDRAW, "1", full, format("%d", arrived[1]))
      if sent and gone == 1 then -- It went off between the two.
        ok, message, code = pass_gate(arrived[1], conn.timeout_ms)
      end
      return ok, ok and false or message, code
    end

    return barrier
  end
end

return { bind = bind_gates }
