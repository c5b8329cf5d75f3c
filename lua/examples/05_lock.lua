-- One critical operation at a time, as far as reading and then setting a key can keep it so.
dofile((arg[0]:match("^.*/") or "") .. "prelude.lua")

local critical_task = task("critical_operation")
    :command(function()
        local state = require("state")
        
        -- Verificar se já há uma operação crítica rodando
        local lock_owner = state.get("critical_operation_lock")
        local my_id = "instance_" .. os.getenv("HOSTNAME")
        
        if lock_owner and lock_owner ~= my_id then
            log.warn("Operação crítica já está rodando em: " .. lock_owner)
            return false, "Critical operation already running"
        end
        
        -- Adquirir lock
        state.set("critical_operation_lock", my_id)
        state.set("critical_operation_started", os.time())
        
        -- Operação crítica...
        log.info("Executando operação crítica...")
        
        -- Liberar lock
        state.delete("critical_operation_lock")
        
        return true, "Critical operation completed"
    end)
