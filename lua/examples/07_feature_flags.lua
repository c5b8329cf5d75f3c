-- Reads feature flags that an operator sets to "true" while the workers run.
dofile((arg[0]:match("^.*/") or "") .. "prelude.lua")

local feature_task = task("deploy_with_features")
    :command(function()
        local state = require("state")
        
        -- Verificar feature flags
        local new_algorithm_enabled = state.get("feature_new_algorithm") == "true"
        local beta_features = state.get("beta_features_enabled") == "true"
        
        log.info("New algorithm: " .. tostring(new_algorithm_enabled))
        log.info("Beta features: " .. tostring(beta_features))
        
        if new_algorithm_enabled then
            -- Deploy com novo algoritmo
            deploy_with_new_algorithm()
        else
            -- Deploy tradicional
            deploy_traditional()
        end
        
        return true, "Deploy completed with current features"
    end)
