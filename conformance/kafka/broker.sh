# shellcheck shell=bash
# Sourced by kafka.sh after lib/common.sh: one Apache Kafka broker, started and stopped by its pid.

# kafka_format: lays out an empty node in $WORK/kafka; sets BROKER and the ports.
kafka_format() {
  local id
  kafka_jars
  mkdir -p "$WORK/kafka"
  read -r KAFKA_PORT KAFKA_CONTROLLER < <(free_ports 2)
  BROKER=127.0.0.1:$KAFKA_PORT
  {
    cat "$CONFORMANCE/kafka/server.properties"
    echo "listeners=PLAINTEXT://$BROKER,CONTROLLER://127.0.0.1:$KAFKA_CONTROLLER"
    echo "advertised.listeners=PLAINTEXT://$BROKER"
    echo "controller.quorum.bootstrap.servers=127.0.0.1:$KAFKA_CONTROLLER"
    echo "log.dirs=$WORK/kafka/data"
  } >"$WORK/kafka/server.properties"
  id=$(java -cp "$KAFKA_LIB/*" kafka.tools.StorageTool random-uuid 2>/dev/null)
  java -cp "$KAFKA_LIB/*" kafka.tools.StorageTool format --standalone --cluster-id "$id" \
    --config "$WORK/kafka/server.properties" >"$WORK/kafka-format.log" 2>&1
}

kafka_start() {
  start kafka java -Xms128m -Xmx384m -Dlog4j2.level=WARN -cp "$KAFKA_LIB/*" kafka.Kafka "$WORK/kafka/server.properties"
  wait_port "$KAFKA_PORT" 60 kafka && wait_until 40 kafka_topics --list
}

kafka_topics() {
  java -cp "$KAFKA_LIB/*" org.apache.kafka.tools.TopicCommand --bootstrap-server "$BROKER" "$@" >>"$WORK/kafka-topics.log" 2>&1
}
