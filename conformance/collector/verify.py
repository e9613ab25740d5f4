"""The two halves of collector.sh.

python verify.py delivery SENT.json ARCHIVE COLLECTOR.log     nothing lost, nothing dropped
python verify.py complete SENT.json ARCHIVE                   exit code 0 once all has arrived
python verify.py forms FOLDER                                 the forms' findings are the same
"""

import json
import pathlib
import sys

from checks import check, equal, finish
import outputs

FORMS = ("proto", "proto-zstd", "json", "json-zstd")


def main():
    what, *rest = sys.argv[1:]
    {"delivery": delivery, "complete": complete, "forms": forms}[what](*rest)


def sent_ids(path):
    sent = json.loads(pathlib.Path(path).read_text())
    return tuple({bytes.fromhex(i) for i in sent[name]} for name in ("traces", "logs"))


def complete(sent_path, archive):
    spans, logs = sent_ids(sent_path)
    seen_spans, seen_logs, _ = outputs.span_ids(archive)
    sys.exit(0 if spans <= seen_spans and logs <= seen_logs else 1)


def delivery(sent_path, archive, collector_log):
    spans, logs = sent_ids(sent_path)
    seen_spans, seen_logs, rows = outputs.span_ids(archive)
    equal("distinct spans in the archive are those sent", len(seen_spans & spans), len(spans))
    equal("distinct access logs in the archive are those sent", len(seen_logs & logs), len(logs))
    check("nothing is in the archive that was not sent", seen_spans <= spans and seen_logs <= logs)
    sent = len(spans) + len(logs)
    print(f"      {sent} sent, {rows} rows: {rows - sent} arrived twice because an answer was lost", flush=True)
    lines = [json.loads(line) for line in pathlib.Path(collector_log).read_text().splitlines() if line[:1] == "{"]
    dropped = [line for line in lines if "dropped_items" in line or "Dropping data" in line["msg"]]
    check("the Collector's log shows no dropped data", not dropped, dropped[0]["error"] if dropped else "")
    retried = [(line["otelcol.component.id"], line["error"]) for line in lines if "Will retry" in line["msg"]]
    for exporter in ("otlp", "otlphttp"):
        errors = [error for component, error in retried if component == exporter]
        # The Collector says so when, and only when, the answer told it how long to wait.
        throttled = [error for error in errors if error.startswith("Throttle (")]
        check(f"the exporter {exporter} met a closed door", any("connection refused" in error for error in errors))
        check(f"the exporter {exporter} was told how long to wait while lapwing was busy", throttled)
    finish()


def forms(folder):
    folder = pathlib.Path(folder)
    reference = by_id(folder / "sent.ndjson")
    check(f"the requests as sent give findings ({len(reference)})", reference)
    for form in FORMS:
        seen = by_id(folder / f"{form}.ndjson")
        missing, extra = reference.keys() - seen.keys(), seen.keys() - reference.keys()
        check(
            f"the Collector's {form} file replays to the same findings, by id",
            not missing and not extra,
            f"{len(missing)} missing, {len(extra)} more: "
            f"{[reference[i] for i in sorted(missing)[:2]] + [seen[i] for i in sorted(extra)[:2]]}",
        )
    finish()


def by_id(path):
    return {f["id"]: (f["kind"], f["source"], f["destination"], f["opened_at"]) for f in outputs.findings(path)}


if __name__ == "__main__":
    main()
