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
