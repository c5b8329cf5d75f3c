-- Workers count themselves done, the master looks whether all are. "02_workers.lua worker_process" is one worker alone.
dofile((arg[0]:match("^.*/") or "") .. "prelude.lua")

-- Worker registra que terminou
local worker_task = task("worker_process")
    :command(function()
        local state = require("state")
        
        -- Processar dados...
        log.info("Worker processando dados...")
        
        -- Incrementar contador de workers concluídos
        local completed = state.increment("workers_completed") or 1
        log.info("Workers concluídos: " .. completed)
        
        -- Marcar este worker como concluído
        state.set("worker_" .. os.getenv("WORKER_ID") .. "_status", "completed")
        
        return true, "Worker completed"
    end)

-- Master verifica se todos terminaram
local master_task = task("master_coordinator")
    :command(function()
        local state = require("state")
        
        local total_workers = 5
        local completed = state.get("workers_completed") or 0
        
        if completed >= total_workers then
            log.info("Todos os workers terminaram!")
            
            -- Processar resultados finais
            state.set("final_processing_status", "in_progress")
            
            return true, "All workers completed"
        else
            log.info("Aguardando workers: " .. completed .. "/" .. total_workers)
            return false, "Workers still running"
        end
    end)
