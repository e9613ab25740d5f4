#!/usr/bin/env bash
# A real Envoy mesh exports OTLP live to `lapwing run`: traces and access logs arrive, the pairs are
# right, and each of three scripted incidents becomes one finding. About four minutes.
source "$(dirname "$0")/lib/common.sh"
echo "envoy-mesh: a real Envoy mesh exports live"
lapwing_binary
python_env
lapwing_config "$WORK"

LEARN=${MESH_LEARN:-80} INCIDENT=${MESH_INCIDENT:-25} SETTLE=${MESH_SETTLE:-20}
cat >"$WORK/mesh.yaml" <<YAML
inventory: {file: "$CONFORMANCE/mesh/inventory.yaml"}
detectors: {window: 5s, lateness: 5s, learning: $((LEARN - 15))s}
YAML
start_lapwing "$WORK/lapwing.yaml" "$WORK/mesh.yaml" || { fail "lapwing starts"; finish; }
pass "lapwing starts and is ready"

timeout 600 "$PYTHON" "$CONFORMANCE/mesh/mesh.py" --grpc-port "$OTLP_GRPC" --http-port "$OTLP_HTTP" \
  --out "$WORK/mesh" --learn "$LEARN" --incident "$INCIDENT" --settle "$SETTLE" 2>&1 | sed 's/^/  /' || true
if [[ -f $WORK/mesh/truth.json ]]; then
  pass "the mesh ran its story"
else
  fail "the mesh ran its story"
  tail -n 5 "$WORK"/mesh/*.log || true
  finish
fi
sleep 12 # the last window closes and the archive's last file with it
check "lapwing tells its metrics" "$PYTHON" -c '
import json, sys, outputs
json.dump(outputs.metrics(sys.argv[1]), open(sys.argv[2], "w"))' "$METRICS" "$WORK/metrics.json"
check "lapwing drains on SIGTERM and ends with exit code 0" stop lapwing TERM 30
tally "$PYTHON" "$CONFORMANCE/mesh/verify.py" "$WORK/mesh/truth.json" "$WORK/metrics.json" "$WORK/data"
finish
