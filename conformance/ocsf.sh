#!/usr/bin/env bash
# lapwing's OCSF and syslog forms, judged by validators that others published.
#
#   conformance/ocsf.sh                  the snapshots that the tests of crates/siem pin
#   conformance/ocsf.sh FILE...          OCSF events of a run: a JSON array, or one event per line
source "$(dirname "$0")/lib/common.sh"
echo "ocsf: the official schema, RFC 5424 and ATT&CK"
VALIDATORS=$CONFORMANCE/validators

# validators_env: the virtual environment with validators/requirements.txt; sets PYTHON.
validators_env() {
  local digest venv
  command -v python3 >/dev/null || missing python3 "Python 3.11 or newer with venv (apt-get install python3-venv)"
  digest=$(sha256sum "$VALIDATORS/requirements.txt" | cut -c1-12)
  venv=$CACHE/validators-$digest
  PYTHON=$venv/bin/python
  export PYTHONPATH=$CONFORMANCE/lib PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
  [[ -f $venv/complete ]] && return 0
  say "installing the validators (once, into $venv)"
  (
    flock 9
    [[ -f $venv/complete ]] && exit 0
    rm -rf "$venv"
    python3 -m venv "$venv" &&
      "$venv/bin/pip" install -q --disable-pip-version-check -r "$VALIDATORS/requirements.txt" &&
      touch "$venv/complete"
  ) 9>"$CACHE/validators.lock" || missing "a validator" "pip could not install conformance/validators/requirements.txt (see above)"
}

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
