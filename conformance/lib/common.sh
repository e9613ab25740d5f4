# shellcheck shell=bash
# Sourced by every conformance script: the cache, what is installed into it, processes started and
# stopped by their own pid, and the count of checks. Needs bash, and Python 3.11 with venv.

set -euo pipefail

CONFORMANCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ROOT=$(cd "$CONFORMANCE/.." && pwd)
CACHE=${LAPWING_CACHE:-$HOME/.cache/lapwing-conformance}
LAPWING=${LAPWING_BIN:-$ROOT/target/release/lapwing}
WORK=$(mktemp -d "${TMPDIR:-/tmp}/lapwing-conformance.XXXXXX")
PASSED=0
FAILED=0
FINISHED=
declare -A PIDS=()
mkdir -p "$CACHE"

# ---- checks -------------------------------------------------------------------------------------

say() { printf '  %s\n' "$*"; }
pass() { PASSED=$((PASSED + 1)); printf '  ok    %s\n' "$*"; }
fail() { FAILED=$((FAILED + 1)); printf '  FAIL  %s\n' "$*"; }

# check SENTENCE COMMAND...: one check, passed when the command is.
check() {
  local sentence=$1; shift
  if "$@"; then pass "$sentence"; else fail "$sentence"; fi
}

# tally COMMAND...: a program that prints `ok SENTENCE` and `FAIL SENTENCE` lines (lib/checks.py)
# adds them to this script's count. One that ends badly without a FAIL line is a failed check.
tally() {
  local out=$WORK/tally.$RANDOM status=0 failed
  "$@" 2>&1 | tee "$out" | sed 's/^/  /' || status=$? # pipefail: the program's own
  failed=$(grep -c '^FAIL ' "$out" || true)
  PASSED=$((PASSED + $(grep -c '^ok ' "$out" || true)))
  FAILED=$((FAILED + failed))
  if [[ $status -ne 0 && $failed -eq 0 ]]; then fail "$(printf '%s\n' "$@" | grep -m 1 '\.py$' || echo "$1") ended with exit code $status"; fi
}

# missing WHAT HINT: ends the script as failed, saying what has to be installed.
missing() {
  fail "$1 is missing: $2"
  finish
}

finish() {
  FINISHED=1
  echo "$PASSED passed, $FAILED failed"
  [[ $FAILED -eq 0 && $PASSED -gt 0 ]] || exit 1
  exit 0
}

# ---- processes ----------------------------------------------------------------------------------

# start NAME COMMAND...: runs a command in the background with its output in $WORK/NAME.log.
start() {
  local name=$1; shift
  "$@" >>"$WORK/$name.log" 2>&1 </dev/null &
  PIDS[$name]=$!
}

running() { [[ -n ${PIDS[$1]:-} ]] && kill -0 "${PIDS[$1]}" 2>/dev/null; }

# stop NAME [SIGNAL] [SECONDS]: signals a process, waits, and kills it when the time is over.
# Returns the process's exit code.
stop() {
  local name=$1 signal=${2:-TERM} seconds=${3:-20} pid=${PIDS[$1]:-} code=0
  [[ -n $pid ]] || return 0
  unset "PIDS[$name]"
  local ticks=$((seconds * 10))
  { # without bash's own word on a process that was killed
    kill "-$signal" "$pid" || true
    while kill -0 "$pid" && ((ticks-- > 0)); do sleep 0.1; done
    if kill -0 "$pid"; then
      say "$name did not stop within $seconds s and was killed"
      kill -CONT "$pid" || true
      kill -KILL "$pid" || true
    fi
    wait "$pid" || code=$?
  } 2>/dev/null
  return "$code"
}

# wait_port PORT SECONDS [NAME]: until something listens on 127.0.0.1:PORT, or the process died.
wait_port() {
  local port=$1 ticks=$(($2 * 10)) name=${3:-}
  while ((ticks-- > 0)); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return 0; fi
    if [[ -n $name ]] && ! running "$name"; then break; fi
    sleep 0.1
  done
  say "nothing listens on port $port after waiting ${2} s${name:+ for $name}"
  [[ -z $name ]] || tail -n 20 "$WORK/$name.log" | sed 's/^/    /'
  return 1
}

# wait_until SECONDS COMMAND...: polls a command until it succeeds.
wait_until() {
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || return 1
    sleep 0.3
  done
}

# free_ports N: N ports nothing listens on now, below the range the kernel hands to clients.
free_ports() {
  python3 - "$1" <<'PY'
import random, socket, sys
held, want = [], int(sys.argv[1])
while len(held) < want:
    s = socket.socket()
    try:
        s.bind(("127.0.0.1", random.randint(20000, 31999)))
        held.append(s)
    except OSError:
        s.close()
print(*(s.getsockname()[1] for s in held))
PY
}

cleanup() {
  local status=$? name
  for name in "${!PIDS[@]}"; do stop "$name" TERM 8 || true; done
  if [[ -z $FINISHED ]]; then
    echo "  FAIL  $(basename "$0") ended before its last check (exit code $status)"
    echo "$PASSED passed, $((FAILED + 1)) failed"
    [[ $status -ne 0 ]] || status=1
  fi
  if [[ -n ${LAPWING_KEEP:-} ]]; then
    echo "  kept: $WORK"
  else
    rm -rf "$WORK"
  fi
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ---- what is installed --------------------------------------------------------------------------

# debian COMMAND PACKAGE: installs a Debian package when its command is not there.
debian() {
  PATH=$PATH:/usr/sbin:/sbin
  command -v "$1" >/dev/null && return 0
  if command -v apt-get >/dev/null && [[ $(id -u) -eq 0 ]]; then
    say "installing the Debian package $2"
    (
      flock 9
      export DEBIAN_FRONTEND=noninteractive
      apt-get install -y --no-install-recommends "$2" ||
        { apt-get update && apt-get install -y --no-install-recommends "$2"; }
    ) >"$WORK/apt.log" 2>&1 9>"$CACHE/apt.lock" || tail -n 5 "$WORK/apt.log"
  fi
  command -v "$1" >/dev/null || missing "$1" "install the Debian package $2 (apt-get install $2)"
}

# debian_file FILE PACKAGE: installs a Debian package when a file of it is not there.
debian_file() {
  [[ -e $1 ]] && return 0
  if command -v apt-get >/dev/null && [[ $(id -u) -eq 0 ]]; then
    say "installing the Debian package $2"
    (
      flock 9
      export DEBIAN_FRONTEND=noninteractive
      apt-get install -y --no-install-recommends "$2" ||
        { apt-get update && apt-get install -y --no-install-recommends "$2"; }
    ) >"$WORK/apt.log" 2>&1 9>"$CACHE/apt.lock" || tail -n 5 "$WORK/apt.log"
  fi
  [[ -e $1 ]] || missing "$1" "install the Debian package $2 (apt-get install $2)"
}

# python_env: the virtual environment with requirements.txt; sets PYTHON.
python_env() {
  venv "$CONFORMANCE/requirements.txt" venv
}

# validators_env: the virtual environment with validators/requirements.txt; sets PYTHON.
validators_env() {
  venv "$CONFORMANCE/validators/requirements.txt" validators
}

# venv REQUIREMENTS NAME: a virtual environment with these packages, kept in the cache; sets PYTHON.
venv() {
  local digest folder
  command -v python3 >/dev/null || missing python3 "Python 3.11 or newer with venv (apt-get install python3-venv)"
  digest=$(sha256sum "$1" | cut -c1-12)
  folder=$CACHE/$2-$digest
  PYTHON=$folder/bin/python
  export PYTHONPATH=$CONFORMANCE/lib PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
  [[ -f $folder/complete ]] && return 0
  say "installing Python packages (once, into $folder)"
  (
    flock 9
    [[ -f $folder/complete ]] && exit 0
    rm -rf "$folder"
    python3 -m venv "$folder" &&
      "$folder/bin/pip" install -q --disable-pip-version-check -r "$1" &&
      touch "$folder/complete"
  ) 9>"$CACHE/$2.lock" || missing "a Python package" "pip could not install ${1#"$CONFORMANCE/"} (see above)"
}

# collector_binary: the OpenTelemetry Collector, built once by its own builder; sets OTELCOL.
collector_binary() {
  local digest dir version=0.155.0 jobs=${LAPWING_GO_JOBS:-2}
  digest=$(sha256sum "$CONFORMANCE/collector/builder.yaml" | cut -c1-12)
  dir=$CACHE/otelcol-$digest
  OTELCOL=$dir/otelcol
  [[ -x $OTELCOL ]] && return 0
  command -v go >/dev/null || missing go "Go 1.25 or newer, to build the OpenTelemetry Collector (no registry has the binary)"
  say "building the OpenTelemetry Collector $version (once, into $dir; about three minutes)"
  (
    flock 9
    [[ -x $OTELCOL ]] && exit 0
    # The builder ends with `go mod tidy`, which asks for modules that only the components' tests use and
    # that not every module proxy has. What counts is the go.mod it wrote before that.
    mkdir -p "$dir" && cd "$dir" &&
      GOBIN=$dir nice go install -p "$jobs" "go.opentelemetry.io/collector/cmd/builder@v$version" &&
      { ./builder --config "$CONFORMANCE/collector/builder.yaml" --skip-compilation || true; } &&
      cd build && [[ -f go.mod ]] &&
      GOFLAGS=-mod=mod nice go build -p "$jobs" -trimpath -ldflags '-s -w' -o ../otelcol.part . &&
      mv ../otelcol.part "$OTELCOL"
  ) >"$WORK/build.log" 2>&1 9>"$CACHE/otelcol.lock" ||
    { tail -n 20 "$WORK/build.log"; missing "the OpenTelemetry Collector" "its build failed (above)"; }
}

# ecs_fields: Elastic's own list of ECS fields, from npm; sets ECS_MODULES.
ecs_fields() {
  local version=9.4.0
  debian node nodejs
  ECS_MODULES=$CACHE/ecs-$version
  [[ -f $ECS_MODULES/complete ]] && return 0
  debian npm npm
  say "fetching the list of ECS fields (once, into $ECS_MODULES)"
  (
    flock 9
    [[ -f $ECS_MODULES/complete ]] && exit 0
    mkdir -p "$ECS_MODULES" && cd "$ECS_MODULES" &&
      npm install --silent --no-audit --no-fund --ignore-scripts --prefix . "@elastic/ecs@$version" && touch complete
  ) >"$WORK/npm.log" 2>&1 9>"$CACHE/ecs.lock" ||
    { tail -n 5 "$WORK/npm.log"; missing "@elastic/ecs" "npm could not fetch it (above)"; }
}

# opensearch_unpacked: OpenSearch in $WORK, from a zip that Maven Central keeps; sets OPENSEARCH.
# It refuses to run as root, so it gets a folder that another user may write.
opensearch_unpacked() {
  local version=2.19.4 zip
  debian java openjdk-17-jre-headless
  debian mvn maven
  zip=$CACHE/opensearch/opensearch-$version.zip
  if [[ ! -f $zip ]]; then
    say "fetching OpenSearch (once, into $zip)"
    (
      flock 9
      [[ -f $zip ]] && exit 0
      mkdir -p "$WORK/opensearch-zip" "$CACHE/opensearch" &&
        mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy -DoutputDirectory="$WORK/opensearch-zip" \
          -Dartifact="org.opensearch.distribution.integ-test-zip:opensearch:$version:zip" &&
        mv "$WORK/opensearch-zip/opensearch-$version.zip" "$zip"
    ) >"$WORK/mvn.log" 2>&1 9>"$CACHE/opensearch.lock" ||
      { tail -n 20 "$WORK/mvn.log"; missing "OpenSearch" "Maven could not fetch it (above)"; }
  fi
  OPENSEARCH=$WORK/opensearch-$version
  python3 -m zipfile -e "$zip" "$WORK"
  if [[ $(id -u) -eq 0 ]]; then
    chmod 711 "$WORK"
    chown -R 65534:65534 "$OPENSEARCH"
  fi
}

# pki FOLDER: an authority, and a server and a client for localhost, as PEM files.
pki() {
  debian openssl openssl
  mkdir -p "$1"
  (
    cd "$1" && exec >"$WORK/pki.log" 2>&1
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=lapwing conformance" -keyout ca.key -out ca.pem
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' >extensions
    for name in server client; do
      openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout "$name.key" -out "$name.csr"
      openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out "$name.pem"
    done
  )
}

# kafka_jars: Apache Kafka's jars from Maven Central; sets KAFKA_LIB.
kafka_jars() {
  local digest
  debian java openjdk-17-jre-headless
  debian mvn maven
  digest=$(sha256sum "$CONFORMANCE/kafka/pom.xml" | cut -c1-12)
  KAFKA_LIB=$CACHE/kafka-$digest
  [[ -f $KAFKA_LIB/complete ]] && return 0
  say "fetching Apache Kafka's jars (once, into $KAFKA_LIB)"
  (
    flock 9
    [[ -f $KAFKA_LIB/complete ]] && exit 0
    mvn -q -B -f "$CONFORMANCE/kafka/pom.xml" dependency:copy-dependencies \
      -DoutputDirectory="$KAFKA_LIB" -DincludeScope=runtime && touch "$KAFKA_LIB/complete"
  ) >"$WORK/mvn.log" 2>&1 9>"$CACHE/kafka.lock" ||
    { tail -n 20 "$WORK/mvn.log"; missing "Apache Kafka" "Maven could not fetch its jars (above)"; }
}

lapwing_binary() {
  [[ -x $LAPWING ]] || missing "$LAPWING" "build it with 'cargo build --release', or set LAPWING_BIN"
}

# ---- lapwing ------------------------------------------------------------------------------------

# lapwing_config FOLDER: writes FOLDER/lapwing.yaml with free ports and short times, so that a check
# takes seconds; sets OTLP_GRPC, OTLP_HTTP, HEALTH and METRICS. What a script wants otherwise it says
# in a second file, which lapwing lays over this one.
lapwing_config() {
  local folder=$1
  mkdir -p "$folder"
  read -r OTLP_GRPC OTLP_HTTP HEALTH METRICS < <(free_ports 4)
  cat >"$folder/lapwing.yaml" <<YAML
data_dir: $folder/data
receivers:
  otlp:
    protocols:
      grpc: {endpoint: "127.0.0.1:$OTLP_GRPC"}
      http: {endpoint: "127.0.0.1:$OTLP_HTTP"}
    limits: {retry_after: 1s}
archive: {roll_interval: 2s}
extensions:
  health_check: {endpoint: "127.0.0.1:$HEALTH"}
service:
  telemetry:
    logs: {encoding: json}
    metrics: {address: "127.0.0.1:$METRICS"}
YAML
}

# start_lapwing FILE...: `lapwing run` with these configuration files, until its door is open.
start_lapwing() {
  start lapwing "$LAPWING" run --config "$@"
  wait_port "$OTLP_GRPC" 20 lapwing && wait_until 20 ready
}

ready() { [[ $(curl_status "http://127.0.0.1:$HEALTH/readyz") == 200 ]]; }

curl_status() {
  "$PYTHON" - "$1" <<'PY'
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=2).status)
except urllib.error.HTTPError as error:
    print(error.code)
except OSError:
    print(0)
PY
}
