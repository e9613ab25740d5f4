"""Compares what OpenSearch, Alertmanager and rsyslog received with the findings file that lapwing wrote beside.

python verify.py opensearch PORT FINDINGS.ndjson [complete]
python verify.py alertmanager PORT FINDINGS.ndjson [complete]
python verify.py syslog RECEIVED.ndjson FINDINGS.ndjson CEF_OUT.log
python verify.py counters METRICS_PORT FINDINGS.ndjson EXPORTER...

With `complete` the exit code is 0 once everything has arrived.
"""

import collections
import json
import pathlib
import sys
import urllib.error
import urllib.request

from checks import check, equal, finish
import outputs


def ask(port, path, body=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"content-type": "application/json"})
    if body is not None:
        request.data = json.dumps(body).encode()
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def opensearch(port, findings, complete):
    written = {f"{f['id']}.{f['revision']}": f for f in findings}
    try:
        ask(port, "/lapwing-findings/_refresh", {})
        hits = ask(port, "/lapwing-findings/_search", {"size": 10_000})["hits"]["hits"]
    except (OSError, urllib.error.HTTPError):
        hits = []
    if complete:
        sys.exit(0 if written and len(hits) >= len(written) else 1)
    seen = {hit["_id"]: hit["_source"] for hit in hits}
    equal("OpenSearch has every finding revision once, under its own id", seen.keys() == written.keys() and len(hits) == len(seen), True)
    check("each document says the finding's sentence", all(seen[i]["message"] == f["explanation"] for i, f in written.items() if i in seen))
    kinds = {(s["lapwing"]["finding"]["state"], s["event"]["kind"]) for s in seen.values()}
    check("only the opening of a finding is an alert", kinds <= {("open", "alert"), ("update", "event"), ("close", "event")}, str(kinds))
    names = ask(port, "/lapwing-findings/_mapping")["lapwing-findings"]["mappings"]["properties"]
    check("the index took times as dates and numbers as numbers", names["@timestamp"]["type"] == "date" and names["event"]["properties"]["severity"]["type"] == "long")
    # What a lost answer leads to: the same documents again.
    again = [line for i in sorted(seen)[:3] for line in ({"create": {"_index": "lapwing-findings", "_id": i}}, seen[i])]
    body = "".join(json.dumps(line) + "\n" for line in again).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/_bulk", body, {"content-type": "application/x-ndjson"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        said = json.load(answer)
    equal("a document that is there is refused with 409 and status 200 around it", (said["errors"], {i["create"]["status"] for i in said["items"]}), (True, {409}))


def alertmanager(port, findings, complete):
    latest = {f["id"]: f for f in findings}
    alerts = ask(port, "/api/v2/alerts?active=true&inhibited=true")
    open_ids = {i for i, f in latest.items() if f["state"] != "close"}
    seen = collections.Counter(a["labels"]["finding_id"] for a in alerts)
    if complete:
        sys.exit(0 if open_ids and open_ids <= seen.keys() else 1)
    equal("Alertmanager shows every open finding once and nothing else", (set(seen), set(seen.values())), (open_ids, {1}))
    check("each alert has a summary and begins when its finding opened", all(a["annotations"]["summary"] and a["startsAt"][:19] == latest[a["labels"]["finding_id"]]["opened_at"][:19] for a in alerts))


def syslog(received, findings, out):
    messages = [json.loads(line) for line in pathlib.Path(received).read_text().splitlines()]
    written = {f"{f['id']}.{f['revision']}" for f in findings}
    lines = [m["msg"].lstrip(" ") for m in messages]
    check(f"rsyslog received CEF over TLS ({len(lines)})", lines and all(line.startswith("CEF:0|lapwing|") for line in lines))
    ids = [line.split(" externalId=", 1)[1].split(" ", 1)[0] for line in lines]
    equal("rsyslog received every finding revision and nothing else", set(ids), written)
    check("the structured data came through", all("[finding@32473 id=" in m["sd"] and m["app"] == "lapwing" for m in messages))
    pathlib.Path(out).write_text("".join(line + "\n" for line in lines))


def counters(port, findings, exporters):
    values = outputs.metrics(port)
    for name in exporters:
        def of(metric):
            return outputs.metric_sum(values, f"lapwing_exporter_{metric}", exporter=name)

        produced = of("produced_findings_total")
        sums = of("delivered_findings_total") + of("spooled_findings") + of("dead_lettered_findings_total")
        equal(f"{name}: produced = delivered + spooled + dead-lettered", produced, sums)
        equal(f"{name}: everything is delivered", of("delivered_findings_total"), float(len(findings)))
        equal(f"{name}: the state is ready", outputs.metric_sum(values, "lapwing_exporter_state", exporter=name, state="ready"), 1.0)


def main():
    what, place, path, *rest = sys.argv[1:]
    findings = outputs.findings(path)
    if what == "syslog":
        syslog(place, findings, rest[0])
    elif what == "counters":
        counters(int(place), findings, rest)
    else:
        {"opensearch": opensearch, "alertmanager": alertmanager}[what](int(place), findings, rest == ["complete"])
    finish()


if __name__ == "__main__":
    main()
