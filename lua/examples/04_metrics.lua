-- Counts deployments and keeps a mean of how long they take.
dofile((arg[0]:match("^.*/") or "") .. "prelude.lua")

local metrics_task = task("collect_metrics")
    :command(function()
        local state = require("state")
        
        -- Incrementar contadores
        state.increment("total_deployments")
        state.increment("deployments_today_" .. os.date("%Y%m%d"))
        
        -- Rastrear tempo médio
        local start_time = state.get("deploy_start_time")
        if start_time then
            local duration = os.time() - tonumber(start_time)
            
            -- Calcular média móvel
            local avg_duration = state.get("avg_deploy_duration") or duration
            local new_avg = (avg_duration + duration) / 2
            state.set("avg_deploy_duration", new_avg)
            
            log.info("Deploy duration: " .. duration .. "s")
            log.info("Average duration: " .. new_avg .. "s")
        end
        
        return true, "Metrics collected"
    end)
