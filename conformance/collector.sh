#!/usr/bin/env bash
# A real OpenTelemetry Collector in front of lapwing: restarts, a kill, a stall and a spell of 'busy'
# under load lose nothing; and each form of its file exporter replays to the same findings.
source "$(dirname "$0")/lib/common.sh"
echo "collector: an OpenTelemetry Collector in front"
lapwing_binary
python_env
collector_binary
lapwing_config "$WORK"
read -r COLLECTOR_GRPC < <(free_ports 1)
export COLLECTOR_GRPC LAPWING_GRPC=$OTLP_GRPC LAPWING_HTTP=$OTLP_HTTP FOLDER=$WORK/forms
mkdir -p "$FOLDER"

# One request at a time for ten senders: most are told to wait.
cat >"$WORK/busy.yaml" <<YAML
receivers: {otlp: {limits: {max_in_flight_requests: 1}}}
log: {gather: 200ms}
YAML

echo "  delivery:"
start_lapwing "$WORK/lapwing.yaml" || { fail "lapwing starts"; finish; }
start collector "$OTELCOL" --config "$CONFORMANCE/collector/to-lapwing.yaml"
wait_port "$COLLECTOR_GRPC" 20 collector || { fail "the Collector starts"; finish; }
start load "$PYTHON" "$CONFORMANCE/collector/load.py" "$COLLECTOR_GRPC" 120 "$WORK/sent.json"
sleep 4
check "lapwing ends with exit code 0 on SIGTERM under load" stop lapwing TERM 30
sleep 1
check "lapwing starts again" start_lapwing "$WORK/lapwing.yaml"
sleep 4
stop lapwing KILL || true
sleep 1
check "lapwing starts again after kill -9" start_lapwing "$WORK/lapwing.yaml"
sleep 3
kill -STOP "${PIDS[lapwing]}"
sleep 6 # longer than the Collector waits for an answer
kill -CONT "${PIDS[lapwing]}"
sleep 2
stop lapwing TERM 30 || true
check "lapwing starts with room for one request at a time" start_lapwing "$WORK/lapwing.yaml" "$WORK/busy.yaml"
sleep 8
stop lapwing TERM 30 || true
check "lapwing starts with its usual limits" start_lapwing "$WORK/lapwing.yaml"
sleep 2
check "the load went on to its end without an error" stop load TERM 20
wait_until 60 "$PYTHON" "$CONFORMANCE/collector/verify.py" complete "$WORK/sent.json" "$WORK/data/archive" || true
stop collector TERM 20 || true
stop lapwing TERM 30 || true
tally "$PYTHON" "$CONFORMANCE/collector/verify.py" delivery "$WORK/sent.json" "$WORK/data/archive" "$WORK/collector.log"

echo "  forms of its file exporter:"
start files "$OTELCOL" --config "$CONFORMANCE/collector/to-files.yaml"
wait_port "$COLLECTOR_GRPC" 20 files || { fail "the Collector starts with file exporters"; finish; }
check "the recorded mesh went through the Collector" \
  timeout 300 "$PYTHON" "$CONFORMANCE/collector/load.py" "$COLLECTOR_GRPC" --recording "$ROOT/datasets/mesh/raw" "$FOLDER/sent.bin"
check "the Collector ends its files" stop files TERM 20
cat >"$WORK/replay.yaml" <<YAML
data_dir: $WORK/replay
detectors: {window: 10s, learning: 60s}
YAML
for form in sent proto proto-zstd json json-zstd; do
  timeout 300 "$LAPWING" replay --input "$FOLDER/$form.bin" --config "$WORK/replay.yaml" \
    --inventory "$ROOT/datasets/mesh/inventory.yaml" --findings "$FOLDER/$form.ndjson" \
    >"$WORK/replay-$form.log" 2>&1 || { fail "replay reads $form.bin"; tail -n 5 "$WORK/replay-$form.log"; }
done
tally "$PYTHON" "$CONFORMANCE/collector/verify.py" forms "$FOLDER"
finish
