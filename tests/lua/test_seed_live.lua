--- test_seed_live.lua - the examples, each by several workers at once, as separate processes; against a cluster.
local context = ...
local check = context.check
local state = require "state"

local run = string.format("seed%d-%p", os.time(), {})
local WORKERS = 5

-- Start an example: env is "NAME=value ..." before the command.
local function start(namespace, env, script, ...)
  local command = string.format("HOLDFAST_NAMESPACE='%s' %s %s %s%s.lua %s 2>&1", namespace, env, context.lua,
    context.examples, script, table.concat({ ... }, " "))
  return assert(io.popen(command))
end

-- What the example printed; it must have ended well.
local function finish(pipe)
  local text = pipe:read("a")
  check.truthy(pipe:close(), "an example's exit status, after: " .. text)
  return text
end

-- WORKERS processes at once -> their outputs. env may have %d for the worker's number.
local function parallel(namespace, env, script, ...)
  local pipes, texts = {}, {}
  for i = 1, WORKERS do
    pipes[i] = start(namespace, env:gsub("%%d", tostring(i)), script, ...)
  end
  for i, pipe in ipairs(pipes) do
    texts[i] = finish(pipe)
  end
  return texts
end

local function says(text, what)
  if not text:find(what, 1, true) then
    error(string.format("%q is not in:\n%s", what, text), 2)
  end
end

local function says_one_of(text, ...)
  for _, what in ipairs({ ... }) do
    if text:find(what, 1, true) then
      return
    end
  end
  error("none of " .. table.concat({ ... }, " | ") .. " is in:\n" .. text, 2)
end

local tests = {}
local function add(name, fn)
  local namespace = run .. "-" .. #tests
  tests[#tests + 1] = { name, function()
    local client <close> = state.connect({ namespace = namespace })
    fn(client, namespace)
    client.clear()
  end }
end

add("01 deploy: the version is remembered", function(client, namespace)
  for _, text in ipairs(parallel(namespace, "", "01_deploy")) do
    says_one_of(text, "deploy_app: true, Deploy successful", "deploy_app: true, Version already deployed")
  end
  check.returns({ "v1.2.3" }, client.get("last_deployed_version"))
  check.equal(type(client.get("last_deploy_time")), "string")
  says(finish(start(namespace, "", "01_deploy")), "deploy_app: true, Version already deployed")
end)

add("02 workers: five count to exactly five", function(client, namespace)
  local master = function() return finish(start(namespace, "", "02_workers", "master_coordinator")) end
  says(master(), "master_coordinator: false, Workers still running")
  local seen = {}
  for _, text in ipairs(parallel(namespace, "WORKER_ID=%d", "02_workers", "worker_process")) do
    says(text, "worker_process: true, Worker completed")
    seen[#seen + 1] = math.tointeger(tonumber(text:match("concluídos: (%d+)")))
  end
  table.sort(seen)
  check.equal(seen, { 1, 2, 3, 4, 5 })
  check.returns({ 5 }, client.get("workers_completed"))
  for i = 1, WORKERS do
    check.returns({ "completed" }, client.get("worker_" .. i .. "_status"))
  end
  says(master(), "master_coordinator: true, All workers completed")
  check.returns({ "in_progress" }, client.get("final_processing_status"))
end)

add("03 rate limit: ten calls a minute", function(client, namespace)
  local minute, texts
  repeat -- Once more where the minute ended under way.
    client.clear()
    minute, texts = os.date("%Y%m%d%H%M"), {}
    for i = 1, 12 do
      texts[i] = finish(start(namespace, "", "03_circuit_breaker"))
    end
  until os.date("%Y%m%d%H%M") == minute
  for i, text in ipairs(texts) do
    says(text, "call_external_api: " .. (i <= 10 and "true, API call successful" or "false, Rate limit exceeded"))
  end
  check.returns({ 10 }, client.get("api_calls_" .. minute))
  check.returns({ 0 }, client.get("api_failures"))
end)

add("03 circuit breaker: five failures open it", function(client, namespace)
  for _, text in ipairs(parallel(namespace, "API_FAILS=1", "03_circuit_breaker")) do
    says(text, "call_external_api: false, API call failed")
  end
  check.returns({ 5 }, client.get("api_failures"))
  check.equal(math.type(client.get("last_api_failure")), "integer")
  says(finish(start(namespace, "", "03_circuit_breaker")), "call_external_api: false, Circuit breaker active")
end)

add("04 metrics: every deployment counts", function(client, namespace)
  client.set("deploy_start_time", os.time() - 10)
  for _, text in ipairs(parallel(namespace, "", "04_metrics")) do
    says(text, "collect_metrics: true, Metrics collected")
    says(text, "Deploy duration: ")
  end
  check.returns({ 5 }, client.get("total_deployments"))
  local today = 0
  for _, count in pairs(client.list("deployments_today_")) do
    today = today + count
  end
  check.equal(today, 5)
  local mean = client.get("avg_deploy_duration")
  check.truthy(math.type(mean) == "float" and mean >= 10 and mean < 60, "mean " .. tostring(mean))
end)

add("05 lock: nobody leaves it behind", function(client, namespace)
  local texts = parallel(namespace, "HOSTNAME=host%d", "05_lock")
  local completed = 0
  for _, text in ipairs(texts) do
    says_one_of(text, "critical_operation: true, Critical operation completed",
      "critical_operation: false, Critical operation already running")
    completed = completed + (text:find("operation completed", 1, true) and 1 or 0)
  end
  check.truthy(completed >= 1)
  check.returns({ false }, client.exists("critical_operation_lock"))
  check.equal(math.type(client.get("critical_operation_started")), "integer")
  client.set("critical_operation_lock", "instance_other")
  says(finish(start(namespace, "HOSTNAME=host1", "05_lock")),
    "critical_operation: false, Critical operation already running")
end)

add("06 cache: the result comes back as the table it was", function(client, namespace)
  for _, text in ipairs(parallel(namespace, "", "06_cache")) do
    says_one_of(text, "process_large_dataset: true, Dataset processed",
      "process_large_dataset: true, Used cached result")
    says(text, "{result={columns={1=name, 2=size}, mean=2.5, rows=3}}")
  end
  says(finish(start(namespace, "", "06_cache")),
    "process_large_dataset: true, Used cached result, {result={columns={1=name, 2=size}, mean=2.5, rows=3}}")
  local left = client.get_ttl("processed_dataset_v2_hash_abc123")
  check.truthy(left > 86000 and left <= 86400, "ttl " .. tostring(left))
end)

add("07 feature flags: what an operator sets is seen", function(client, namespace)
  for _, text in ipairs(parallel(namespace, "", "07_feature_flags")) do
    says(text, "deploying the traditional way")
    says(text, "deploy_with_features: true, Deploy completed with current features")
  end
  client.set("feature_new_algorithm", "true")
  for _, text in ipairs(parallel(namespace, "", "07_feature_flags")) do
    says(text, "New algorithm: true")
    says(text, "deploying with the new algorithm")
  end
end)

add("08 locks: all workers get their turn", function(client, namespace)
  for _, text in ipairs(parallel(namespace, "", "08_locks")) do
    says(text, "critical_operation: true, Critical operation completed")
    says(text, "few_at_a_time: true, downloaded")
  end
  check.returns({ false }, client.is_locked("critical_operation"))
  check.returns({ false }, client.is_locked("downloads"))
end)

-- How many times `what` stands in the texts.
local function count_in(texts, what)
  local n = 0
  for _, text in ipairs(texts) do
    for _ in text:gmatch(what) do
      n = n + 1
    end
  end
  return n
end

add("09 worker pool: each job counts once, a lost one too", function(client, namespace)
  client.set("taken", { 100 }) -- By a worker that is gone.
  for _, text in ipairs(parallel(namespace, "JOBS=20", "09_worker_pool")) do
    says(text, "work: true, No more jobs")
  end
  says(finish(start(namespace, "", "09_worker_pool")), "work: true, No more jobs")
  check.returns({ 21 }, client.get("jobs_done"))
  check.returns({ 2870 + 100 * 100 }, client.get("sum_of_squares"))
  check.returns({ {} }, client.get("taken"))
end)

add("10 leader: all lead in turn, in growing epochs", function(client, namespace)
  local epochs = {}
  for i, text in ipairs(parallel(namespace, "WORKER_ID=%d", "10_leader")) do
    says(text, "lead: true, Scheduled by worker-" .. i)
    local epoch = check.truthy(text:match("worker%-" .. i .. " leads in epoch (%d+)"), text)
    check.equal(epochs[epoch], nil)
    epochs[epoch] = i
  end
  check.returns({ WORKERS }, client.get("schedules"))
end)

add("11 API client: ten calls for all, and a circuit that opens", function(client, namespace)
  local texts = parallel(namespace, "CALLS=4", "11_api_client")
  local good = 0
  for _, text in ipairs(texts) do
    good = good + math.tointeger(tonumber(text:match("API call successful=(%d+)") or 0))
  end
  check.equal(good, 10)
  check.returns({ 10 }, client.get("api_calls"))
  client.delete("api_rate")
  client.delete("api_calls")
  parallel(namespace, "API_FAILS=1 CALLS=4", "11_api_client")
  local calls = client.get("api_calls")
  check.truthy(calls >= 3 and calls < 3 + WORKERS, "calls of a failing API: " .. tostring(calls))
  says(finish(start(namespace, "", "11_api_client")), "call_api: true, {circuit open=4}")
end)

add("12 cached report: one computes", function(client, namespace)
  local texts = parallel(namespace, "", "12_cached_report")
  check.equal(count_in(texts, "computing the report"), 1)
  check.equal(count_in(texts, "report: true, Report of 3 rows"), WORKERS)
  check.returns({ 1 }, client.get("reports_computed"))
end)

add("13 flags: all see what an operator sets", function(client, namespace)
  check.equal(count_in(parallel(namespace, "", "13_flags", "render"), "render: true, old layout, 20 rows"), WORKERS)
  local follower = start(namespace, "", "13_flags", "follow")
  says(finish(start(namespace, "", "13_flags", "enable")), "enable: true")
  says(finish(follower), "follow: true, new layout")
  check.equal(count_in(parallel(namespace, "", "13_flags", "render"), "render: true, new layout, 50 rows"), WORKERS)
  check.returns({ 35.0, 2 * WORKERS }, client.average("page_sizes"))
end)

add("14 deploy lock: a version is deployed once", function(client, namespace)
  local texts = parallel(namespace, "VERSION=v3", "14_deploy_lock")
  check.equal(count_in(texts, "deploy: true, Deployed v3"), 1)
  check.equal(count_in(texts, "deploy: true, Already deployed"), WORKERS - 1)
  check.returns({ 1 }, client.get("deployments"))
end)

add("the counters of many processes lose nothing", function(client, namespace)
  local script = string.format([[%s -e 'local s = require "state"
    for i = 1, 40 do assert(s.increment("n")) assert(s.list_push("l", i) > 0)
    assert(s.atomic_update("t", function(t) t = t or { n = 0 } t.n = t.n + 1 return t end)) end' 2>&1]], context.lua)
  local pipes = {}
  for i = 1, WORKERS do
    pipes[i] = assert(io.popen(string.format("HOLDFAST_NAMESPACE='%s' %s", namespace, script)))
  end
  for _, pipe in ipairs(pipes) do
    finish(pipe)
  end
  check.returns({ 40 * WORKERS }, client.get("n"))
  check.returns({ 40 * WORKERS }, client.list_length("l"))
  check.returns({ { n = 40 * WORKERS } }, client.get("t"))
end)

return tests
