-- Stops calling an API that keeps failing, and more than ten times a minute. API_FAILS=1 makes the API fail.
dofile((arg[0]:match("^.*/") or "") .. "prelude.lua")

local api_task = task("call_external_api")
    :command(function()
        local state = require("state")
        
        -- Verificar se API está com problemas
        local failures = state.get("api_failures") or 0
        local last_failure = state.get("last_api_failure")
        
        -- Circuit breaker: se muitas falhas recentes, não tenta
        if failures >= 5 and last_failure then
            local time_diff = os.time() - tonumber(last_failure)
            if time_diff < 300 then -- 5 minutos
                log.warn("Circuit breaker ativo - API com problemas")
                return false, "Circuit breaker active"
            end
        end
        
        -- Rate limiting: máximo 10 calls por minuto
        local calls_this_minute = state.get("api_calls_" .. os.date("%Y%m%d%H%M")) or 0
        if calls_this_minute >= 10 then
            log.warn("Rate limit atingido")
            return false, "Rate limit exceeded"
        end
        
        -- Fazer chamada da API...
        local success = call_api()
        
        if success then
            -- Resetar contador de falhas
            state.set("api_failures", 0)
            -- Incrementar calls deste minuto
            state.increment("api_calls_" .. os.date("%Y%m%d%H%M"))
        else
            -- Incrementar falhas
            state.increment("api_failures")
            state.set("last_api_failure", os.time())
        end
        
        return success, success and "API call successful" or "API call failed"
    end)
