#!/usr/bin/env bash
# Requests a second of `POST /orchestrator/execute` with everything on, against a bare axum JSON echo in the
# same run: each figure of one program beside the same figure of the others, one after another, round by round.
# Needs wrk and curl.
# Usage: benches/http.sh [-s SECONDS] [-c "CONNECTIONS ..."] [-r ROUNDS] [-b BARE_AXUM] [NAME=PROGRAM ...]
# Without programs it builds and measures this one; `old=/tmp/stockade new=target/release/stockade` compares two.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=2 connections="1 8 32 128" rounds=2 bare=
while getopts s:c:r:b: option; do
  case $option in
    s) seconds=$OPTARG ;; c) connections=$OPTARG ;; r) rounds=$OPTARG ;; b) bare=$OPTARG ;; *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
if [ $# = 0 ]; then
  cargo build --quiet --release -p stockade
  set -- "stockade=target/release/stockade"
fi
if [ -z "$bare" ]; then
  cargo build --quiet --release -p stockade-benches
  bare=target/release/bare-axum
fi
[ -f tests/guests/target/wasm32-wasip2/release/guest_echo.wasm ] || "${1#*=}" build tests/guests >/dev/null
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null; rm -rf "$work"' EXIT

lua() {
  cat >"$work/$1.lua" <<LUA
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer $2"
wrk.body = '{"agent":"echo","query":"hello"}'
LUA
}
port=18002
names=(bare)
"$bare" 127.0.0.1:$port &
lua bare "$(printf '0%.0s' {1..64})"
declare -A ports=([bare]=$port) pids=()
for program in "$@"; do
  name=${program%%=*} port=$((port + 1))
  "${program#*=}" serve --config benches/agents.toml --data-dir "$work/$name" \
    --listen 127.0.0.1:$port 2>"$work/$name.log" &
  pids[$name]=$! ports[$name]=$port
  names+=("$name")
  until curl -sf http://127.0.0.1:$port/readyz >/dev/null; do sleep 0.05; done
  lua "$name" "$(cat "$work/$name/admin.key")"
done

# NAME CONNECTIONS SECONDS -> "REQUESTS P50 P99", the times in microseconds
measure() {
  local threads=2
  [ "$2" = 1 ] && threads=1
  wrk -t$threads -c"$2" -d"${3}s" --latency -s "$work/$1.lua" "http://127.0.0.1:${ports[$1]}/orchestrator/execute" >"$work/out"
  if grep -h 'Non-2xx\|Socket errors' "$work/out" >&2; then
    echo "requests to $1 failed" >&2
    exit 1
  fi
  awk 'function us(t) { return t ~ /us$/ ? t + 0 : t ~ /ms$/ ? t * 1e3 : t * 1e6 }
    /50%/ { p50 = us($2) } /99%/ { p99 = us($2) } /Requests\/sec/ { rate = $2 }
    END { printf "%d %d %d\n", rate, p50, p99 }' "$work/out"
}
for name in "${names[@]}"; do measure "$name" 32 1 >/dev/null; done # warm-up
echo "| connections | program | requests/s | p50 | p99 | of bare axum | p50 above it |"
echo "|---|---|---|---|---|---|---|"
for count in $connections; do
  for ((round = 0; round < rounds; round++)); do
    for name in "${names[@]}"; do
      read -r rate p50 p99 <<<"$(measure "$name" "$count" "$seconds")"
      [ "$name" = bare ] && bare_rate=$rate bare_p50=$p50
      awk -v c="$count" -v n="$name" -v r="$rate" -v p50="$p50" -v p99="$p99" -v b="$bare_rate" -v b50="$bare_p50" \
        'BEGIN { printf "| %d | %s | %d | %d µs | %d µs | %.2f | %d µs |\n", c, n, r, p50, p99, r / b, p50 - b50 }'
    done
  done
done
for name in "${!pids[@]}"; do
  echo "$name: $(awk '/VmRSS/ {print $2}' "/proc/${pids[$name]}/status") kB resident after the load"
done
