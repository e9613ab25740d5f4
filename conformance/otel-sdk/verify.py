"""Counts in the archive what each exporter sent.  python verify.py ARCHIVE SENT.json..."""

import collections
import json
import sys

from checks import equal, finish
import outputs


def main():
    table = outputs.archive(sys.argv[1], ["signal", "attributes", "source", "span_id"])
    counts, distinct = collections.Counter(), collections.defaultdict(set)
    for signal, attributes, source, span_id in zip(
        *(table[n].to_pylist() for n in ("signal", "attributes", "source", "span_id"))
    ):
        service = dict(attributes).get("resource.service.name") or (source or "").removeprefix("conformance/")
        kind = "spans" if signal.startswith("span") else "logs"
        counts[service, kind] += 1
        distinct[service].add(span_id)
    for path in sys.argv[2:]:
        for way, sent in json.load(open(path)).items():
            if way.startswith("busy"):  # an answer may be lost to a time-out, so a span may be there twice
                equal(f"spans of sdk-{way} in the archive", len(distinct[f"sdk-{way}"]), sent["spans"])
            else:
                for kind, n in sent.items():
                    equal(f"{kind} of sdk-{way} in the archive", counts[f"sdk-{way}", kind], n)
    finish()


if __name__ == "__main__":
    main()
