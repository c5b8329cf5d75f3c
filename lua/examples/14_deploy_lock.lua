-- Deploys a version once, one worker at a time; the others find it done. VERSION: what to deploy.
dofile((arg[0]:match("^.*/") or "") .. "prelude.lua")

task("deploy")
    :command(function()
        local state = require("state")
        local version = os.getenv("VERSION") or "v2.0.0"
        local ok, message, code = state.with_lock("deploy", function(lock)
            if state.get("deployed_version") == version then
                return true, "Already deployed"
            end
            deploy_traditional()
            if not lock.alive() then
                return false, "the lock was lost: somebody else may be deploying"
            end
            return state.transaction(function(tx)
                tx.set("deployed_version", version)
                tx.increment("deployments")
                return "Deployed " .. version
            end)
        end, 60)
        return ok, message, code
    end)
