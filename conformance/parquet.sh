#!/usr/bin/env bash
# pyarrow, DuckDB and pandas read the archive of a replay: their counts agree with each other, with
# lapwing's summary and with a table of the dataset that lapwing had no part in.
source "$(dirname "$0")/lib/common.sh"
echo "parquet: pyarrow, DuckDB and pandas read the archive"
lapwing_binary
python_env

cat >"$WORK/replay.yaml" <<YAML
data_dir: $WORK/data
detectors: {window: 10s, learning: 60s}
YAML
replay() {
  timeout 300 "$LAPWING" replay --input "$ROOT/datasets/mesh/raw" \
    --config "$WORK/replay.yaml" --inventory "$ROOT/datasets/mesh/inventory.yaml" \
    --findings "$WORK/findings.ndjson" --archive "$WORK/archive" --format json \
    >"$WORK/summary.json" 2>"$WORK/replay.log"
}
check "replay archives the recorded mesh" replay || tail -n 5 "$WORK/replay.log"
tally "$PYTHON" "$CONFORMANCE/parquet/verify.py" "$WORK/archive" "$WORK/summary.json" \
  "$ROOT/datasets/mesh/raw/pairs.txt" 22544 22237
finish
