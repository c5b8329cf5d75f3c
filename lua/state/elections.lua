--- state/elections.lua - one of many leads, until it resigns or its session ends.
-- An election is a lock; who campaigns waits for it, in the order of arrival. Its token is the epoch. Who has won
-- writes its id beside the name, guarded by the token, so that an id is never that of an older leader.
local core = require "state.core"
local check = require "state.check"
local link = require "state.link"
local locks = require "state.locks"

local type = type
local format, sub = string.format, string.sub
local bad_argument, check_lock_name, check_string = check.bad_argument, check.lock_name, check.string
local wait_milliseconds = check.wait_milliseconds
local read_version, write = link.read_version, link.write
local acquire, lock_state, holder_name = locks.acquire, locks.lock_state, locks.holder_name



-- Where the leader's id stands. It is a key of the namespace like any other.
local function id_key(full)
  return full .. ":leader"
end

-- -> true; or false, message, code
local function write_id(conn, full, lock, id)
  local bytes, kind = core.encode({ id = id, epoch = lock.token })
  return write(conn, "GUARD", full, format("%d", lock.token), "VSET", id_key(full), bytes, "TYPE", kind)
end

local function bind_elections(state, conn)
  ---@class holdfast.State
  local s = state

  ---@class holdfast.Election
  ---@field campaign fun(timeout: number?): boolean, holdfast.Lock|string, holdfast.Code?
  ---@field resign fun(): boolean, string?, holdfast.Code?
  ---@field leader fun(): string?, integer|string|nil, holdfast.Code? its id and epoch; nil, message when there is none
  ---@field epoch fun(): integer? of this client's own leadership; nil when it does not lead, for sure
  ---@field is_leader fun(): boolean asks nobody, and never says yes too late

  --- An election among all who use this name. campaign waits up to timeout (30 seconds) to lead and gives the lock that
  --- leadership is; it ends by resign, or with this client's session.
  ---@param name holdfast.Key
  ---@param id? string what others are told of this candidate; its host and process by default
  ---@return holdfast.Election
  function s.election(name, id)
    local full = check_lock_name(conn, "election", name)
    id = id ~= nil and check_string("election", id, 2) or nil
    local election, mine = {}, nil

    function election.campaign(timeout)
      local ms, why = wait_milliseconds(timeout or locks.LOCK_TIMEOUT_DEFAULT)
      if not ms then
        bad_argument(1, "campaign", why, 2)
      elseif mine and mine.alive() then
        return true, mine
      end
      local ok, lock, code = acquire(conn, full, { wait_ms = ms, words = {} })
      if not ok then
        return false, lock, code
      end
      local message
      if id then
        ok, message, code = write_id(conn, full, lock, id)
      end
      if not ok then
        lock.release()
        return false, message, code
      end
      mine = lock
      return true, lock
    end

    function election.resign()
      if not mine then
        return false, locks.NOT_HELD
      end
      local lock = mine
      mine = nil
      return lock.release()
    end

    function election.leader()
      local holder, message, code = lock_state(conn, full)
      if holder == nil then
        return nil, message, code
      elseif not holder then
        return nil, "no leader: " .. sub(full, #conn.prefix + 1)
      end
      local ok, told, why = read_version(conn, id_key(full))
      if not ok then
        return nil, told, why
      elseif type(told) == "table" and told.epoch == holder.token then
        return told.id, holder.token
      end
      return holder_name(holder), holder.token -- It has not said its id, or not yet.
    end

    function election.is_leader()
      return mine ~= nil and mine.alive()
    end

    function election.epoch()
      return election.is_leader() and mine.token or nil
    end

    return election
  end
end

return { bind = bind_elections }
