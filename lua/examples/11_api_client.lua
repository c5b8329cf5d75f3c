-- Calls an API that is shared by all workers: ten calls an hour altogether, and none while it is failing.
-- CALLS: how many this worker tries (4 by default); API_FAILS=1 makes the API fail.
dofile((arg[0]:match("^.*/") or "") .. "prelude.lua")

local state = require("state")
local circuit = state.circuit("api_circuit", { failures = 3, window = 3600, cooldown = 3600, probes = 1 })

local function guarded_call()
    local allowed, is, wait = circuit.allow()
    if allowed == nil then
        return false, is
    elseif not allowed then
        return false, "circuit " .. is, wait
    end
    local within, remaining, retry_after = state.rate_limit("api_rate", 10, 3600)
    if not within then
        return false, within == nil and remaining or "rate limit", retry_after
    end
    state.increment("api_calls")
    if call_api() then
        circuit.success()
        return true, "API call successful"
    end
    circuit.failure()
    return false, "API call failed"
end

task("call_api")
    :command(function()
        local counts = {}
        for _ = 1, tonumber(os.getenv("CALLS") or 4) do
            local _, what = guarded_call()
            counts[what] = (counts[what] or 0) + 1
        end
        return true, counts
    end)
