"""Judges OTLP log records by the published protocol buffers: PyPI opentelemetry-proto, strict parse.

    python otlp_logs.py FILE.json
"""

import base64
import json
import pathlib
import sys

from google.protobuf.json_format import Parse, ParseError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from checks import check, finish


def main():
    request = json.loads(pathlib.Path(sys.argv[1]).read_text())
    records = [r for block in request["resourceLogs"] for scope in block["scopeLogs"] for r in scope["logRecords"]]
    check(f"there are records to judge ({len(records)})", records)
    for record in records:
        for key, size in (("traceId", 16), ("spanId", 8)):
            # OTLP/JSON writes ids in hexadecimal; protocol buffers' own JSON wants base64.
            raw = bytes.fromhex(record.get(key, ""))
            check(f"{key} has no byte or {size}", len(raw) in (0, size)) if len(raw) not in (0, size) else None
            record[key] = base64.b64encode(raw).decode()
    try:
        parsed = Parse(json.dumps(request), ExportLogsServiceRequest())
    except ParseError as error:
        check("the request parses strictly", False, str(error)[:200])
        finish()
    check("the request parses strictly", True)
    logs = [r for block in parsed.resource_logs for scope in block.scope_logs for r in scope.log_records]
    check("every record has a time, a severity, a body and an event name", all(
        r.time_unix_nano and 1 <= r.severity_number <= 24 and r.body.string_value and r.event_name for r in logs
    ))
    names = [[a.key for a in r.attributes] for r in logs]
    check("no attribute is there twice", all(len(n) == len(set(n)) for n in names))
    finish()


if __name__ == "__main__":
    main()
