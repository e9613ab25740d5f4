#!/usr/bin/env bash
# OpenSearch, Alertmanager and rsyslog with mutual TLS receive the findings at once. OpenSearch is killed in
# the middle, which delays neither of the others; credentials that are refused pause and lose nothing.
source "$(dirname "$0")/lib/common.sh"
echo "sinks: OpenSearch, Alertmanager and rsyslog over mutual TLS receive the findings"
lapwing_binary
python_env
debian rsyslogd rsyslog
debian lognormalizer liblognorm-utils
debian_file "/usr/lib/$(uname -m)-linux-gnu/rsyslog/lmnsd_gtls.so" rsyslog-gnutls
opensearch_unpacked
debian prometheus-alertmanager prometheus-alertmanager
pki "$WORK/pki"

read -r SEARCH_PORT SEARCH_TRANSPORT ALERTS_PORT RECEIVER_PORT < <(free_ports 4)
export RECEIVER_FOLDER=$WORK/rsyslog RECEIVER_PKI=$WORK/pki RECEIVER_PORT
mkdir -p "$RECEIVER_FOLDER"

opensearch_start() {
  local as=()
  [[ $(id -u) -ne 0 ]] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  (cd "$OPENSEARCH" && exec env OPENSEARCH_JAVA_OPTS="-Xms256m -Xmx256m" OPENSEARCH_JAVA_HOME="$JAVA_HOME_FOUND" HOME="$OPENSEARCH" \
    "${as[@]}" bash bin/opensearch -Ediscovery.type=single-node -Enetwork.host=127.0.0.1 -Ehttp.port="$SEARCH_PORT" \
    -Etransport.port="$SEARCH_TRANSPORT") >>"$WORK/opensearch.log" 2>&1 </dev/null &
  PIDS[opensearch]=$!
  wait_port "$SEARCH_PORT" 90 opensearch
}
JAVA_HOME_FOUND=$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")

start rsyslog rsyslogd -n -f "$CONFORMANCE/sinks/rsyslog.conf" -i "$RECEIVER_FOLDER/pid"
start alertmanager prometheus-alertmanager --config.file="$CONFORMANCE/sinks/alertmanager.yml" --storage.path="$WORK/alertmanager" \
  --web.listen-address="127.0.0.1:$ALERTS_PORT" --cluster.listen-address=
opensearch_start || { fail "OpenSearch starts"; tail -n 5 "$WORK/opensearch.log"; finish; }
wait_port "$RECEIVER_PORT" 15 rsyslog || { fail "rsyslog starts"; finish; }
wait_port "$ALERTS_PORT" 15 alertmanager || { fail "Alertmanager starts"; finish; }

lapwing_config "$WORK"
cat >"$WORK/sinks.yaml" <<YAML
detectors: {window: 1s, lateness: 1s, learning: 8s}
exporters:
  opensearch: {endpoint: "http://127.0.0.1:$SEARCH_PORT", index: lapwing-findings, delivery: {max_interval: 5s}}
  alertmanager: {endpoint: "http://127.0.0.1:$ALERTS_PORT", delivery: {max_interval: 5s}}
  syslog/cef:
    endpoint: "localhost:$RECEIVER_PORT"
    format: cef
    tls: {ca_file: $WORK/pki/ca.pem, cert_file: $WORK/pki/client.pem, key_file: $WORK/pki/client.key}
  # No certificate of its own: rsyslog must refuse it.
  syslog/stranger: {endpoint: "localhost:$RECEIVER_PORT", tls: {ca_file: $WORK/pki/ca.pem}}
YAML
start_lapwing "$WORK/lapwing.yaml" "$WORK/sinks.yaml" || { fail "lapwing starts"; finish; }

verify() { "$PYTHON" "$CONFORMANCE/sinks/verify.py" "$@"; }
FINDINGS=$WORK/data/findings.ndjson
new_pairs() { timeout 120 "$PYTHON" "$CONFORMANCE/lib/new_pairs.py" "$OTLP_GRPC" "$@"; }
metric_at_least() {
  "$PYTHON" -c 'import sys, outputs; sys.exit(outputs.metric_sum(outputs.metrics(sys.argv[1]), sys.argv[2], exporter=sys.argv[3]) < float(sys.argv[4]))' "$METRICS" "$@"
}
check "a pair is learned" new_pairs learn 12
check "new pairs call while all are up" new_pairs appear 0 10
check "OpenSearch has the findings" wait_until 30 verify opensearch "$SEARCH_PORT" "$FINDINGS" complete
stop opensearch KILL || true
check "new pairs call while OpenSearch is down" new_pairs appear 10 10
check "Alertmanager has them meanwhile" wait_until 30 verify alertmanager "$ALERTS_PORT" "$FINDINGS" complete
check "what OpenSearch lacks waits in its spool" metric_at_least lapwing_exporter_spooled_findings opensearch 1
check "who shows no certificate is refused and keeps its findings" metric_at_least lapwing_exporter_refused syslog/stranger 1
check "OpenSearch starts again" opensearch_start
check "new pairs call after that" new_pairs appear 20 10
check "OpenSearch has all of them" wait_until 60 verify opensearch "$SEARCH_PORT" "$FINDINGS" complete
check "Alertmanager has all that are open" wait_until 30 verify alertmanager "$ALERTS_PORT" "$FINDINGS" complete
sleep 2
tally verify counters "$METRICS" "$FINDINGS" opensearch alertmanager syslog/cef
tally verify opensearch "$SEARCH_PORT" "$FINDINGS"
tally verify alertmanager "$ALERTS_PORT" "$FINDINGS"
check "lapwing drains on SIGTERM and ends with exit code 0" stop lapwing TERM 40
check "rsyslog writes what it has" stop rsyslog TERM 15
tally verify syslog "$RECEIVER_FOLDER/received.ndjson" "$FINDINGS" "$WORK/cef.log"
validators_env
tally "$PYTHON" "$CONFORMANCE/validators/cef.py" "$WORK/cef.log"
finish
