-- Workers take jobs from one queue. Each job counts once, and a job whose worker has died is done by another.
-- JOBS: how many there are (20 by default).
dofile((arg[0]:match("^.*/") or "") .. "prelude.lua")

local state = require("state")

-- The queue is filled once, whoever comes first.
local function fill_queue(jobs)
    return state.once("queue_filled", function()
        local queue = {}
        for job = 1, jobs do
            queue[job] = job
        end
        state.set("queue", queue)
    end)
end

-- From the one list to the other, at one instant.
local function move_job(from, to, job)
    return state.transaction(function(tx)
        local source, target = tx.get(from, {}), tx.get(to, {})
        for i, candidate in ipairs(source) do
            if job == nil or candidate == job then
                target[#target + 1] = table.remove(source, i)
                tx.set(from, source)
                tx.set(to, target)
                return candidate
            end
        end
    end)
end

-- Who works on a job holds its lock. What is taken and not locked belongs to nobody any more.
local function give_back_lost_jobs()
    for _, job in ipairs(state.get("taken", {})) do
        local ok, lock = state.try_lock("job-" .. job)
        if ok then
            move_job("taken", "queue", job)
            lock.release()
        end
    end
end

-- The result and that the job is done: both or neither.
local function finish_job(job, result)
    return state.transaction(function(tx)
        local taken = tx.get("taken", {})
        for i, candidate in ipairs(taken) do
            if candidate == job then
                table.remove(taken, i)
                tx.set("taken", taken)
                tx.increment("sum_of_squares", result)
                tx.increment("jobs_done")
                return true
            end
        end
        return false -- It was taken for lost, and somebody else does it.
    end)
end

task("work")
    :command(function()
        assert(fill_queue(math.tointeger(tonumber(os.getenv("JOBS") or 20))) ~= nil)
        local mine = 0
        while true do
            give_back_lost_jobs()
            local ok, job, code = move_job("queue", "taken")
            if not ok then
                return false, job, code
            elseif not job then
                return true, "No more jobs", mine
            end
            state.with_lock("job-" .. job, function()
                local _, counted = finish_job(job, job * job)
                mine = mine + (counted and 1 or 0)
            end)
        end
    end)
