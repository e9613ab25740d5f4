#!/usr/bin/env bash
# lapwing's OCSF and syslog forms, judged by validators that others published.
#
#   conformance/ocsf.sh                  the snapshots that the tests of crates/siem pin
#   conformance/ocsf.sh FILE...          OCSF events of a run: a JSON array, or one event per line
source "$(dirname "$0")/lib/common.sh"
echo "ocsf: the official schema, RFC 5424 and ATT&CK"
VALIDATORS=$CONFORMANCE/validators

validators_env
if (($#)); then
  tally "$PYTHON" "$VALIDATORS/ocsf.py" "$@"
  finish
fi
SNAPSHOTS=$ROOT/crates/siem/tests/it/snapshots
tally "$PYTHON" "$VALIDATORS/ocsf.py" --prove "$SNAPSHOTS/it__formats__ocsf.snap.json"
tally "$PYTHON" "$VALIDATORS/syslog.py" lines "$SNAPSHOTS/it__formats__rfc5424.snap.log"
tally "$PYTHON" "$VALIDATORS/syslog.py" frames "$SNAPSHOTS/it__formats__octet_counted.snap.bin"
finish
