#!/usr/bin/env bash
# rsyslog receives the findings as OCSF over RFC 5424 syslog; it is stopped and started in the middle.
source "$(dirname "$0")/lib/common.sh"
echo "syslog: rsyslog receives the findings"
lapwing_binary
python_env
debian rsyslogd rsyslog
VALIDATE=$CONFORMANCE/ocsf.sh
[[ -x $VALIDATE ]] || missing "$VALIDATE" "the OCSF validator belongs to this folder"

mkdir -p "$WORK/rsyslog"
read -r RECEIVER_PORT < <(free_ports 1)
export RECEIVER_FOLDER=$WORK/rsyslog RECEIVER_PORT
rsyslog_start() {
  start rsyslog rsyslogd -n -f "$CONFORMANCE/syslog/rsyslog.conf" -i "$WORK/rsyslog/pid"
  wait_port "$RECEIVER_PORT" 15 rsyslog
}
rsyslog_start || { fail "rsyslog starts"; finish; }

lapwing_config "$WORK"
cat >"$WORK/syslog.yaml" <<YAML
detectors: {window: 1s, lateness: 1s, learning: 8s}
exporters: {syslog: {endpoint: "127.0.0.1:$RECEIVER_PORT", hostname: conformance}}
YAML
start_lapwing "$WORK/lapwing.yaml" "$WORK/syslog.yaml" || { fail "lapwing starts"; finish; }

new_pairs() { timeout 120 "$PYTHON" "$CONFORMANCE/lib/new_pairs.py" "$OTLP_GRPC" "$@"; }
check "a pair is learned" new_pairs learn 12
check "new pairs call while rsyslog is up" new_pairs appear 0 10
sleep 3
check "rsyslog stops" stop rsyslog TERM 15
check "new pairs call while rsyslog is down" new_pairs appear 10 10
check "rsyslog starts again" rsyslog_start
check "new pairs call after that" new_pairs appear 20 10
# lapwing waits longer after each failure, up to half a minute.
wait_until 60 "$PYTHON" "$CONFORMANCE/syslog/verify.py" "$WORK/rsyslog/received.ndjson" "$WORK/data/findings.ndjson" complete || true
check "lapwing drains on SIGTERM and ends with exit code 0" stop lapwing TERM 40
check "rsyslog writes what it has" stop rsyslog TERM 15
tally "$PYTHON" "$CONFORMANCE/syslog/verify.py" "$WORK/rsyslog/received.ndjson" "$WORK/data/findings.ndjson" "$WORK/ocsf.ndjson"
check "the bodies are valid OCSF" "$VALIDATE" "$WORK/ocsf.ndjson"
finish
