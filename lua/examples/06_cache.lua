-- Processes a dataset once and remembers the result for a day.
dofile((arg[0]:match("^.*/") or "") .. "prelude.lua")

local expensive_task = task("process_large_dataset")
    :command(function()
        local state = require("state")
        
        local data_hash = "dataset_v2_hash_abc123"
        local cache_key = "processed_" .. data_hash
        
        -- Verificar se já processamos este dataset
        local cached_result = state.get(cache_key)
        if cached_result then
            log.info("Usando resultado em cache")
            return true, "Used cached result", { result = cached_result }
        end
        
        -- Processar dataset (operação cara)
        log.info("Processando dataset...")
        local result = process_dataset()
        
        -- Salvar no cache por 24 horas
        state.set_with_ttl(cache_key, result, 24 * 3600)
        
        return true, "Dataset processed", { result = result }
    end)
