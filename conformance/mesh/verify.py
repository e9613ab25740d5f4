"""Compares what lapwing wrote with what was done to the mesh.

python verify.py TRUTH.json METRICS.json DATA

DATA is lapwing's `data_dir`; METRICS.json holds its metrics shortly before it ended.
"""

import json
import pathlib
import sys
from datetime import datetime

from checks import check, equal, finish
import outputs

# What a finding may say while an incident runs without being the incident itself: the callers fail too,
# and shop/orders has less to ask bank/pay for.
CONSEQUENCES = {
    "policy_denials": {("error_shift", "ops/report", "bank/pay")},
    "tls_failures": {
        ("error_shift", "shop/front", "shop/orders"),
        ("latency_shift", "shop/front", "shop/orders"),
        ("volume_spike", "shop/front", "shop/orders"),
        ("volume_drop", "shop/front", "shop/orders"),
        ("silence", "shop/front", "shop/orders"),
        ("volume_drop", "shop/orders", "bank/pay"),
        ("silence", "shop/orders", "bank/pay"),
    },
}
SLACK_S = 45


def main():
    truth = json.loads(pathlib.Path(sys.argv[1]).read_text())
    metrics = json.loads(pathlib.Path(sys.argv[2]).read_text())
    data = pathlib.Path(sys.argv[3])
    table = outputs.archive(data / "archive")
    counts = outputs.pair_counts(table)
    telemetry_arrived(truth, counts)
    pairs_are_right(truth, counts)
    incidents_are_found(truth, outputs.findings(data / "findings.ndjson"))
    nothing_planted_is_left(truth, table, data)
    metrics_agree(metrics, counts)
    finish()


def telemetry_arrived(truth, counts):
    sent = truth["sent"]
    for pair, expected in sorted(sent.items()):
        source, destination = pair.split(" -> ")
        if source != "bank/pay":
            seen = counts.get(("log_client", source, destination), 0)
            equal(f"every call {pair} arrived in client-side access logs", seen, expected)
        nearly(f"calls {pair} arrived in client spans", counts.get(("span_client", source, destination), 0), expected)
    # A certificate that is refused ends a connection before there is a request, so the server's side
    # counts requests only on the pairs whose certificates were never touched.
    for pair in ("shop/orders -> bank/pay", "ops/report -> bank/pay", "ops/report -> shop/orders"):
        source, destination = pair.split(" -> ")
        seen = counts.get(("log_server", source, destination), 0)
        equal(f"every call {pair} arrived in server-side access logs", seen, sent[pair])
        # A server span knows its caller only once the caller's span of the same call has been seen.
        joined = counts.get(("span_server", source, destination), 0)
        check(f"server spans of {pair} are joined, and never one too many", 0 < joined <= sent[pair], str(joined))
    arrived = sum(n for (signal, _, destination), n in counts.items() if (signal, destination) == ("span_server", "bank/pay"))
    nearly(
        "server spans of bank/pay arrived, with or without their caller",
        arrived,
        sent["shop/orders -> bank/pay"] + sent["ops/report -> bank/pay"],
    )


def nearly(sentence, seen, expected):
    """Envoy's tracer keeps spans in memory and does not send again: a few of thousands never leave it.
    That lapwing loses none that reach it is what metrics_agree checks."""
    check(f"{sentence}, but for what Envoy's tracer drops", 0.995 * expected <= seen <= expected, f"{seen} of {expected}")


def pairs_are_right(truth, counts):
    expected = {tuple(pair.split(" -> ")) for pair in truth["sent"]}
    services = {service for pair in expected for service in pair}
    strange = {
        key: n
        for key, n in counts.items()
        if key[1:] not in expected and not (key[0] == "span_server" and key[1] is None and key[2] in services)
    }
    check("no call was given to a pair that does not exist", not strange, str(strange))


def incidents_are_found(truth, revisions):
    first = {}
    for revision in revisions:
        first.setdefault(revision["id"], revision)
    explained = set()
    for incident in truth["incidents"]:
        kind, source, destination = incident["kind"], incident["source"], incident["destination"]
        wanted = {(kind, source, destination)}
        allowed = wanted | CONSEQUENCES.get(kind, set())
        during = [
            f for f in first.values() if incident["begin"] - 15 <= seconds(f["opened_at"]) <= incident["end"] + SLACK_S
        ]
        seen = {(f["kind"], f["source"], f["destination"]) for f in during}
        check(f"the incident {kind} of {source} -> {destination} became a finding", wanted <= seen, f"saw {seen}")
        explained |= {f["id"] for f in during if (f["kind"], f["source"], f["destination"]) in allowed}
        matching = [f for f in during if (f["kind"], f["source"], f["destination"]) in wanted]
        equal(f"{kind} is one finding, not one per window", len(matching), 1)
    unexplained = [
        (f["kind"], f["source"], f["destination"], f["explanation"]) for f in first.values() if f["id"] not in explained
    ]
    check("no finding says what did not happen", not unexplained, str(unexplained))


def nothing_planted_is_left(truth, table, data):
    planted = truth["planted"]
    seen = [name for name in table.column_names if any(planted in str(value) for value in table[name].to_pylist())]
    check("the planted e-mail address is in no archive column", not seen, f"columns {seen}")
    files = [str(path) for path in data.rglob("*") if path.is_file() and planted.encode() in path.read_bytes()]
    check("the planted e-mail address is in no file lapwing wrote", not files, str(files))


def metrics_agree(metrics, counts):
    for signal in ("log_server", "log_client", "span_client", "span_server"):
        archived = sum(n for key, n in counts.items() if key[0] == signal)
        accepted = outputs.metric_sum(metrics, "lapwing_receiver_accepted_calls_total", signal=signal)
        equal(f"lapwing's metrics count the {signal} calls of the archive", accepted, archived)
    equal("no request was refused", outputs.metric_sum(metrics, "lapwing_receiver_refused_requests_total"), 0)
    equal("nothing was left out of a request", outputs.metric_sum(metrics, "lapwing_receiver_rejected_items_total"), 0)
    for transport in ("grpc", "http"):
        requests = outputs.metric_sum(metrics, "lapwing_receiver_requests_total", transport=transport)
        check(f"requests came over {transport}", requests > 0)
    check("redactions are counted", outputs.metric_sum(metrics, "lapwing_redaction_hits_total") > 0)


def seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


if __name__ == "__main__":
    main()
