#!/usr/bin/env bash
# A real Apache Kafka 4.3.0 broker receives the findings; it is stopped and started in the middle.
source "$(dirname "$0")/lib/common.sh"
source "$CONFORMANCE/kafka/broker.sh"
echo "kafka: Apache Kafka 4.3.0 receives the findings"
lapwing_binary
python_env
kafka_format || { fail "the broker's storage is laid out"; tail -n 5 "$WORK/kafka-format.log"; finish; }
kafka_start || { fail "the broker starts"; tail -n 5 "$WORK/kafka.log"; finish; }
TOPIC=lapwing.findings
check "the topic is created" kafka_topics --create --topic $TOPIC --partitions 3 --replication-factor 1

lapwing_config "$WORK"
cat >"$WORK/kafka.yaml" <<YAML
detectors: {window: 1s, lateness: 1s, learning: 8s}
exporters: {kafka: {brokers: ["$BROKER"], topic: $TOPIC, delivery_timeout: 10s}}
YAML
start_lapwing "$WORK/lapwing.yaml" "$WORK/kafka.yaml" || { fail "lapwing starts"; finish; }

new_pairs() { timeout 120 "$PYTHON" "$CONFORMANCE/lib/new_pairs.py" "$OTLP_GRPC" "$@"; }
check "a pair is learned" new_pairs learn 12
check "new pairs call while the broker is up" new_pairs appear 0 20
kafka_stops() { stop kafka TERM 30 || [[ $? -eq 143 ]]; } # a JVM ends so on SIGTERM
check "the broker stops" kafka_stops
check "new pairs call while the broker is down" new_pairs appear 20 20
sleep 12 # longer than one delivery is tried
check "the broker starts again" kafka_start
check "new pairs call after that" new_pairs appear 40 20
# lapwing waits longer after each failure, up to half a minute.
wait_until 60 "$PYTHON" "$CONFORMANCE/kafka/verify.py" "$BROKER" "$TOPIC" "$WORK/data/findings.ndjson" complete || true
check "lapwing drains on SIGTERM and ends with exit code 0" stop lapwing TERM 40
tally "$PYTHON" "$CONFORMANCE/kafka/verify.py" "$BROKER" "$TOPIC" "$WORK/data/findings.ndjson" 60
finish
