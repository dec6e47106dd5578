#!/usr/bin/env bash
# What 50 clients of one agent notice while another agent misbehaves: requests, failures and p99 with
# and without it. Needs wrk and curl, and the release build. Usage: benches/neighbours.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-3}
cargo build --quiet --release -p stockade
target/release/stockade build tests/guests >/dev/null 2>&1
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null; rm -rf "$work"' EXIT
guests=$PWD/tests/guests/target/wasm32-wasip2/release
cat >"$work/agents.toml" <<TOML
[agents.echo]
component = "$guests/guest_echo.wasm"
[agents.hostile]
component = "$guests/guest_hostile.wasm"
limits = { timeout = "2s" }
TOML
target/release/stockade serve --config "$work/agents.toml" --data-dir "$work/data" --listen 127.0.0.1:18001 2>"$work/log" &
until curl -sf http://127.0.0.1:18001/readyz >/dev/null; do sleep 0.05; done
key=$(cat "$work/data/admin.key")
cat >"$work/echo.lua" <<LUA
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer $key"
wrk.body = '{"agent":"echo","query":"hello"}'
LUA
measure() {
  wrk -t1 -c50 -d"${seconds}s" --latency -s "$work/echo.lua" http://127.0.0.1:18001/orchestrator/execute >"$work/out"
  awk -v name="$1" '/99%/ {p99=$2} /50%/ {p50=$2} /requests in/ {n=$1} /Non-2xx/ {bad=$3} /Socket errors/ {bad=$0}
    END {printf "%-22s %8d requests, %s failed, p50 %s, p99 %s\n", name, n, bad ? bad : 0, p50, p99}' "$work/out"
}
measure "warm-up" >/dev/null
measure "alone"
for query in "loop" "memory-bomb" "recurse" "trap" "panic boom" "huge-output 5000000" "sleep 5000" \
  "log-flood 100000 100" "stdout-flood 100000 100" "handles 100000" "random 100000000" "memory-fill 50 1000"; do
  while :; do
    curl -s -o /dev/null -H "Authorization: $key" -H 'Content-Type: application/json' \
      -d "{\"agent\":\"hostile\",\"query\":\"$query\"}" http://127.0.0.1:18001/orchestrator/execute || true
  done &
  noise=$!
  measure "beside $query"
  kill $noise; wait $noise 2>/dev/null || true
done
measure "alone again"
