-- One of many schedules the work. When it resigns or dies, the next candidate leads, with a higher epoch.
dofile((arg[0]:match("^.*/") or "") .. "prelude.lua")

task("lead")
    :command(function()
        local state = require("state")
        local me = "worker-" .. os.getenv("WORKER_ID")
        local election = state.election("scheduler", me)
        local ok, lock, code = election.campaign(60)
        if not ok then
            return false, lock, code
        end
        lock.on_lost(function()
            log.warn("no longer the leader")
        end)
        local leader, epoch = election.leader()
        log.info(string.format("%s leads in epoch %d", leader, epoch))

        -- What a leader does carries its epoch, so that what an older one left under way is not taken for new.
        local done, message = state.transaction(function(tx)
            if tx.get("schedule_epoch", 0) > epoch then
                tx.abort("a newer leader is at work")
            end
            tx.set("schedule_epoch", epoch)
            return tx.increment("schedules")
        end)
        election.resign()
        return done, done and "Scheduled by " .. me or message
    end)
