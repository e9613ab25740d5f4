#!/usr/bin/env bash
# kill -9 in a loop under load: whatever was acknowledged is in the archive afterwards.
source "$(dirname "$0")/lib/common.sh"
echo "crash: kill -9 in a loop under load"
lapwing_binary
python_env
lapwing_config "$WORK"
ROUNDS=${CRASH_ROUNDS:-8}

start_lapwing "$WORK/lapwing.yaml" || { fail "lapwing starts"; finish; }
start load "$PYTHON" "$CONFORMANCE/crash/load.py" "$OTLP_GRPC" "$WORK/sent.json"
for ((round = 1; round <= ROUNDS; round++)); do
  sleep "$((RANDOM % 3 + 1)).$((RANDOM % 10))"
  stop lapwing KILL || true
  check "lapwing starts after kill $round" start_lapwing "$WORK/lapwing.yaml"
done
sleep 2
check "the load ends" stop load TERM 20
sleep 3
check "lapwing drains on SIGTERM and ends with exit code 0" stop lapwing TERM 40
tally "$PYTHON" "$CONFORMANCE/crash/verify.py" "$WORK/sent.json" "$WORK/data/archive" "$WORK/data"
finish
