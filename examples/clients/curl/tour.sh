#!/usr/bin/env bash
# A tour of a Stockade host with curl: every call that a client needs, and two that fail.
#
#     export STOCKADE_KEY=...     # not needed where the host runs with --allow-anonymous
#     ./tour.sh http://127.0.0.1:8001
set -euo pipefail

url="${1:-${STOCKADE_SERVER:-http://127.0.0.1:8001}}"
auth=()
if [[ -n "${STOCKADE_KEY:-}" ]]; then
  auth=(-H "Authorization: Bearer $STOCKADE_KEY")
fi

# ask WHAT METHOD PATH [BODY]: prints the answer; curl's own failures end the tour.
ask() {
  printf '\n== %s\n' "$1"
  local body=()
  if [[ $# -ge 4 ]]; then
    body=(-H 'Content-Type: application/json' -d "$4")
  fi
  curl --silent --show-error -X "$2" "${auth[@]+"${auth[@]}"}" "${body[@]+"${body[@]}"}" \
    -w '\nstatus %{http_code}\n' "$url$3"
}

ask 'Is it alive, is it ready?' GET /healthz
ask 'Ready' GET /readyz
ask 'Who is there?' GET /orchestrator/agents
ask 'The fleet in figures' GET /orchestrator/stats
ask 'Which agent is this task for?' POST /orchestrator/route \
  '{"task": "Check CPU usage on the server", "auto_select": true, "context": {"page": "monitoring"}}'
ask 'Find the agent and ask it' POST /orchestrator/smart-execute '{"task": "Check CPU usage on the server"}'
ask 'Ask one agent' POST /orchestrator/execute '{"agent": "calculator", "query": "15% of 80"}'
ask 'Ask one agent its usual question' POST /api/agents/vps-monitor/execute
ask 'Many at once' POST /orchestrator/batch '["How much memory is free?", "What is 6 times 7?"]'
ask 'How does every agent do?' GET /api/agents/status
ask 'A task for nobody' POST /orchestrator/smart-execute '{"task": "How do I braise leeks"}'
ask 'A path that is not there' GET /api/nonexistent
