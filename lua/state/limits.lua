--- state/limits.lua - rate limits and circuit breakers that all workers share; each call is one step of the cluster.
local check = require "state.check"
local link = require "state.link"

local ipairs, type = ipairs, type
local format, math_type = string.format, math.type
local unpack = table.unpack
local bad_argument, expected, milliseconds = check.bad_argument, check.expected, check.milliseconds
local check_key, check_fields = check.key, check.fields
local write = link.write

local RATE_MAX = 1000000
local LIMIT_OPTIONS = { cost = true, burst = true, algo = true }
local CIRCUIT_OPTIONS = { failures = true, window = true, cooldown = true, probes = true }

local function check_count(name, value, n, least, what)
  if math_type(value) ~= "integer" or value < least or value > RATE_MAX then
    bad_argument(n, name, format("%s%d to %d (integer) expected", what or "", least, RATE_MAX))
  end
  return format("%d", value)
end

local function check_seconds(name, value, n, what)
  local ms, why = milliseconds(value)
  if not ms then
    bad_argument(n, name, (what or "") .. why)
  end
  return ms
end

-- The words of LIMIT after PER.
local function limit_words(options, n)
  options = options or {}
  if type(options) ~= "table" then
    bad_argument(n, "rate_limit", expected("options (table)", options))
  end
  check_fields("rate_limit", options, n, LIMIT_OPTIONS)
  local algo, words = options.algo or "window", {}
  if algo ~= "window" and algo ~= "gcra" then
    bad_argument(n, "rate_limit", "algo: \"window\" or \"gcra\" expected")
  elseif algo == "window" and options.burst ~= nil then
    bad_argument(n, "rate_limit", "burst is for gcra only")
  end
  for _, word in ipairs({ "burst", "cost" }) do
    if options[word] ~= nil then
      words[#words + 1] = word
      words[#words + 1] = check_count("rate_limit", options[word], n, word == "cost" and 0 or 1, word .. ": ")
    end
  end
  return algo, words
end

local function circuit_words(options)
  options = options or {}
  if type(options) ~= "table" then
    bad_argument(2, "circuit", expected("options (table)", options))
  end
  check_fields("circuit", options, 2, CIRCUIT_OPTIONS)
  local words = {}
  for _, word in ipairs({ "failures", "window", "cooldown", "probes" }) do
    local value, count = options[word], word == "failures" or word == "probes"
    if value ~= nil then
      words[#words + 1] = word
      words[#words + 1] = count and check_count("circuit", value, 2, 1, word .. ": ")
        or check_seconds("circuit", value, 2, word .. ": ")
    end
  end
  return words
end

local function bind_limits(state, conn)
  ---@class holdfast.State
  local s = state

  --- May this be done now? At most `limit` in any `window` seconds, counted for all workers. With { algo = "gcra" }
  --- calls are spaced evenly instead, and `burst` of them may come at once.
  ---@param key holdfast.Key
  ---@param limit integer
  ---@param window number seconds
  ---@param options? { cost: integer?, burst: integer?, algo: "window"|"gcra"|nil } cost: how many this one counts for
  ---@return boolean? allowed nil on failure
  ---@return integer|string remaining or message
  ---@return number|holdfast.Code|nil retry_after seconds, 0 when allowed; or code
  function s.rate_limit(key, limit, window, options)
    local full = check_key(conn, "rate_limit", key)
    local rate = check_count("rate_limit", limit, 2, 1)
    local per = check_seconds("rate_limit", window, 3)
    local algo, words = limit_words(options, 4)
    local ok, answer, code = write(conn, "LIMIT", full, "ALGO", algo, "RATE", rate, "PER", per, unpack(words))
    if not ok then
      return nil, answer, code
    end
    return answer[1] == 1, answer[2], answer[3] / 1000
  end

  ---@class holdfast.Circuit
  ---@field allow fun(): boolean?, string, number|holdfast.Code|nil may a call be made? the state; seconds to wait
  ---@field success fun(): string?, string, holdfast.Code? the state after it, and why
  ---@field failure fun(): string?, string, holdfast.Code?
  ---@field state fun(): string?, string, holdfast.Code? "closed", "open" or "half-open", and why
  ---@field reset fun(): string?, string, holdfast.Code? closes it

  --- A circuit breaker: after `failures` (5) failures within `window` (60) seconds nobody may call for `cooldown` (30)
  --- seconds; then at most `probes` (1) try at once, and the first that succeeds closes it. Its name is a key.
  ---@param name holdfast.Key
  ---@param options? { failures: integer?, window: number?, cooldown: number?, probes: integer? } the same for all
  ---@return holdfast.Circuit
  function s.circuit(name, options)
    local full, words = check_key(conn, "circuit", name), circuit_words(options)

    -- -> state, reason, allowed, ms; or nil, message, code
    local function ask(verb)
      local ok, answer, code = write(conn, "BREAKER", full, verb, unpack(words))
      if not ok then
        return nil, answer, code
      end
      return answer[1], answer[2], answer[3] == 1, answer[4]
    end

    local function asker(verb)
      return function()
        local is, reason, code = ask(verb)
        if not is then
          return nil, reason, code
        end
        return is, reason
      end
    end

    local circuit = {
      success = asker("SUCCESS"),
      failure = asker("FAILURE"),
      state = asker("STATE"),
      reset = asker("RESET"),
    }

    function circuit.allow()
      local is, reason, allowed, ms = ask("ALLOW")
      if not is then
        return nil, reason, allowed
      end
      return allowed, is, ms / 1000
    end

    return circuit
  end
end

return { bind = bind_limits }
