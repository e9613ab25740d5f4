#!/usr/bin/env bash
# The OpenTelemetry Python SDK's exporters over gRPC and HTTP, with and without gzip; and what they see
# when a part is bad, all is bad, the signal is not taken, or lapwing is busy.
source "$(dirname "$0")/lib/common.sh"
echo "otel-sdk: the OpenTelemetry Python SDK exports"
lapwing_binary
python_env
lapwing_config "$WORK"
cat >"$WORK/busy.yaml" <<YAML
receivers: {otlp: {limits: {max_in_flight_requests: 1}}}
log: {gather: 50ms}
YAML

start_lapwing "$WORK/lapwing.yaml" || { fail "lapwing starts"; finish; }
tally timeout 120 "$PYTHON" "$CONFORMANCE/otel-sdk/export.py" "$OTLP_GRPC" "$OTLP_HTTP" "$WORK/sent.json"
tally timeout 120 "$PYTHON" "$CONFORMANCE/otel-sdk/refusals.py" good "$OTLP_GRPC" "$OTLP_HTTP"
stop lapwing TERM 30 || true
start_lapwing "$WORK/lapwing.yaml" "$WORK/busy.yaml" || { fail "lapwing starts with room for one request"; finish; }
tally timeout 180 "$PYTHON" "$CONFORMANCE/otel-sdk/refusals.py" busy "$OTLP_GRPC" "$OTLP_HTTP" "$WORK/sent-busy.json"
check "lapwing drains on SIGTERM and ends with exit code 0" stop lapwing TERM 30
tally "$PYTHON" "$CONFORMANCE/otel-sdk/verify.py" "$WORK/data/archive" "$WORK/sent.json" "$WORK/sent-busy.json"
finish
