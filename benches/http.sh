#!/usr/bin/env bash
# Requests a second of `POST /orchestrator/execute` with everything on, against a bare axum JSON
# echo in the same run. Needs wrk and curl. Usage: benches/http.sh [SECONDS] [CONNECTIONS]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-10} connections=${2:-32}
cargo build --quiet --release -p stockade -p stockade-benches
target/release/stockade build tests/guests >/dev/null
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null; rm -rf "$work"' EXIT

target/release/stockade serve --config benches/agents.toml --data-dir "$work/data" \
  --listen 127.0.0.1:18001 2>"$work/log" &
host=$!
target/release/bare-axum 127.0.0.1:18002 &
until curl -sf http://127.0.0.1:18001/readyz >/dev/null; do sleep 0.05; done
key=$(cat "$work/data/admin.key")

cat >"$work/execute.lua" <<LUA
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer $key"
wrk.body = '{"agent":"echo","query":"hello"}'
LUA
measure() { wrk -t2 -c"$connections" -d"${seconds}s" --latency -s "$work/execute.lua" "http://127.0.0.1:$1/orchestrator/execute"; }
rate() { awk '/Requests\/sec/ {print $2}'; }

measure 18001 >/dev/null # warm-up
best=0
for round in 1 2 3; do
  bare=$(measure 18002 | tee "$work/bare" | rate)
  ours=$(measure 18001 | tee "$work/ours" | rate)
  grep -h 'Non-2xx' "$work/ours" && { echo "requests failed; see above" >&2; exit 1; }
  echo "round $round: bare axum $bare/s ($(awk '/50%/ {print $2}' "$work/bare") p50), stockade $ours/s ($(awk '/50%/ {print $2}' "$work/ours") p50, $(awk '/99%/ {print $2}' "$work/ours") p99), ratio $(awk "BEGIN {printf \"%.3f\", $ours / $bare}")"
done
echo "resident: $(awk '/VmRSS/ {print $2}' "/proc/$host/status") kB after the load"
