#!/usr/bin/env bash
# lapwing's ECS, CEF, LEEF and OTLP forms, judged by validators and parsers that others published.
source "$(dirname "$0")/lib/common.sh"
echo "formats: ECS, CEF, LEEF and OTLP logs"
VALIDATORS=$CONFORMANCE/validators
SNAPSHOTS=$ROOT/crates/siem/tests/it/snapshots
validators_env
debian lognormalizer liblognorm-utils
ecs_fields
tally node "$VALIDATORS/ecs.cjs" "$ECS_MODULES" "$SNAPSHOTS/it__formats__ecs.snap.ndjson"
tally "$PYTHON" "$VALIDATORS/cef.py" "$SNAPSHOTS/it__formats__cef.snap.log"
tally "$PYTHON" "$VALIDATORS/cef.py" --messages "$SNAPSHOTS/it__formats__rfc5424_other.snap.log"
tally "$PYTHON" "$VALIDATORS/leef.py" "$SNAPSHOTS/it__formats__leef.snap.log"
tally "$PYTHON" "$VALIDATORS/leef.py" "$SNAPSHOTS/it__formats__rfc5424_other.snap.log"
tally "$PYTHON" "$VALIDATORS/otlp_logs.py" "$SNAPSHOTS/it__formats__otlp_logs.snap.json"
finish
