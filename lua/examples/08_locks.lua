-- One worker at a time, on whatever machine: the lock is the cluster's, and ends with its holder.
dofile((arg[0]:match("^.*/") or "") .. "prelude.lua")

task("critical_operation")
    :command(function()
        local state = require("state")
        local ok, err, code = state.with_lock("critical_operation", function(lock)
            log.info("inside, with token " .. math.type(lock.token))
            state.set("critical_operation_started", os.time())
            assert(lock.alive(), "the lock was lost: stop here")
            return true
        end, 10)
        if not ok then
            return false, err, code
        end
        return true, "Critical operation completed"
    end)

task("few_at_a_time")
    :command(function()
        local state = require("state")
        local slots = state.semaphore("downloads", 3)
        if not slots.acquire(5) then
            return false, "all downloads are busy"
        end
        log.info("downloading")
        slots.release()
        return true, "downloaded"
    end)
