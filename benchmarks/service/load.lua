-- One deletion request a call, each about another person and under another Idempotency-Key.
local number = tonumber(os.getenv("BENCHMARK_FIRST"))
local key = os.getenv("BENCHMARK_KEY")
local path = os.getenv("BENCHMARK_PATH")
local headers = { ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. key }

request = function()
    number = number + 1
    headers["Idempotency-Key"] = "benchmark-" .. number
    local body = '{"subject":{"identities":[{"identity_type":"email","identity_value":"person-' .. number
        .. '@example.org"}]},"regulation":"gdpr"}'
    return wrk.format("POST", path, headers, body)
end

done = function(summary, latency, requests)
    io.write(string.format(
        '\nRESULT {"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "maximum_ms": %f, "refused": %d, "broken": %d}\n',
        summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
        latency.max / 1e3, summary.errors.status,
        summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
