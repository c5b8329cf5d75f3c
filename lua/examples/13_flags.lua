-- Feature flags that an operator sets for all workers; without the cluster each flag has its default.
dofile((arg[0]:match("^.*/") or "") .. "prelude.lua")

task("render")
    :command(function()
        local state = require("state")
        local new_layout = state.flag("flag_new_layout", false)
        local page_size = state.flag("flag_page_size", 20)
        local mean, count = state.average("page_sizes", page_size)
        log.info(string.format("%d pages of %.1f rows so far", count, mean))
        return true, (new_layout and "new" or "old") .. " layout, " .. page_size .. " rows"
    end)

task("enable")
    :command(function()
        local state = require("state")
        return state.transaction(function(tx) -- Nobody sees the one without the other.
            tx.set("flag_new_layout", true)
            tx.set("flag_page_size", 50)
        end)
    end)

-- A worker that runs for long is told of a change rather than asking at each use.
task("follow")
    :command(function()
        local state = require("state")
        local version = state.stats().revision -- First: what changes while we read is heard of, too.
        local flags = state.list("flag_")
        if not flags.flag_new_layout then
            local last, why = state.watch("flag_", function(change)
                flags[change.key] = state.get(change.key)
                log.info(change.key .. " is now " .. tostring(flags[change.key]))
                return not flags.flag_new_layout -- false: enough
            end, { from = version, timeout = 30 })
            if not last then
                return false, why
            end
        end
        return flags.flag_new_layout == true, "new layout"
    end)
