-- Remembers the last deployed version: the second run skips the deployment.
dofile((arg[0]:match("^.*/") or "") .. "prelude.lua")

local deploy_task = task("deploy_app")
    :command(function()
        local state = require("state")
        
        -- Verificar última versão deployada
        local last_version = state.get("last_deployed_version") or "v1.0.0"
        local current_version = "v1.2.3"
        
        log.info("Última versão: " .. last_version)
        log.info("Nova versão: " .. current_version)
        
        if last_version == current_version then
            log.info("Versão já está deployada, pulando...")
            return true, "Version already deployed"
        end
        
        -- Fazer deploy...
        log.info("Deployando nova versão...")
        
        -- Salvar nova versão após sucesso
        state.set("last_deployed_version", current_version)
        state.set("last_deploy_time", os.date())
        
        return true, "Deploy successful"
    end)
