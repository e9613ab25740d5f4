"""Compares what rsyslog received with the findings file that lapwing wrote beside it.

    python verify.py RECEIVED.ndjson FINDINGS.ndjson OCSF_OUT.ndjson

With `complete` instead of OCSF_OUT.ndjson its exit code is 0 once everything has arrived. Else it
writes the bodies to OCSF_OUT.ndjson, for the OCSF validator.
"""

import collections
import json
import pathlib
import sys

from checks import check, equal, finish
import outputs


def main():
    received = [json.loads(line) for line in pathlib.Path(sys.argv[1]).read_text().splitlines()]
    written = {(f["id"], f["revision"]) for f in outputs.findings(sys.argv[2])}
    if sys.argv[3] == "complete":
        sys.exit(0 if len(received) >= len(written) else 1)
    equal(
        "lapwing found each new pair",
        len({f["source"] for f in outputs.findings(sys.argv[2]) if f["kind"] == "new_pair"}),
        30,
    )
    check(f"rsyslog received messages ({len(received)})", received)
    bodies, broken = [], 0
    for message in received:
        try:
            bodies.append(json.loads(message["msg"].removeprefix("\ufeff")))
        except ValueError:
            broken += 1
    equal("every body parses as JSON", broken, 0)
    pathlib.Path(sys.argv[3]).write_text("".join(json.dumps(body) + "\n" for body in bodies))
    check(
        "every message names its application and has a message id",
        all(m["app"] == "lapwing" and m["msgid"] not in ("", "-") for m in received),
    )
    check(
        "every message has a host, a time and a priority",
        all(m["host"] and m["time"] and m["pri"].isdigit() for m in received),
    )
    seen = collections.Counter(identity(body) for body in bodies)
    missing, extra = written - seen.keys(), seen.keys() - written
    check(
        "every finding revision was received",
        not missing,
        f"{len(missing)} of {len(written)} missing, e.g. {sorted(missing)[:1]}",
    )
    check("nothing else was received", not extra, f"e.g. {list(extra)[:1]}")
    finish()


def identity(body):
    """(finding id, revision) of an OCSF Detection Finding: `metadata.uid` is `ID.REVISION`."""
    uid = body.get("metadata", {}).get("uid", "")
    finding, _, revision = uid.rpartition(".")
    return finding, int(revision) if revision.isdigit() else None


if __name__ == "__main__":
    main()
