-- An expensive report: one worker computes it, the others wait for it, and for an hour nobody computes it again.
dofile((arg[0]:match("^.*/") or "") .. "prelude.lua")

task("report")
    :command(function()
        local state = require("state")
        local report, err, code = state.cached("report_2024", 3600, function()
            log.info("computing the report")
            state.increment("reports_computed")
            return process_dataset()
        end)
        if report == nil then
            return false, err, code
        end
        return true, "Report of " .. report.rows .. " rows", report
    end)
