"""What a sender sees when lapwing takes a part, nothing, or has no room.

python refusals.py good GRPC_PORT HTTP_PORT      bad data and bad items
python refusals.py busy GRPC_PORT HTTP_PORT SENT.json   while there is room for one request at a time
"""

import gzip
import json
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from checks import check, equal, finish
import otlp


def main():
    what, grpc_port, http_port, *rest = sys.argv[1:]
    {"good": bad_data, "busy": busy}[what](grpc_port, f"http://127.0.0.1:{http_port}", *rest)
    finish()


# ---- bad data -----------------------------------------------------------------------------------


def bad_data(grpc_port, http):
    sender = otlp.Sender(grpc_port)
    request, _ = otlp.spans(10)
    for span in request.resource_spans[0].scope_spans[0].spans[:3]:
        span.start_time_unix_nano = span.end_time_unix_nano = 1 << 63  # the year 2262
    answer = trace_service_pb2.ExportTraceServiceResponse.FromString(sender.send("traces", request))
    partial_success("gRPC", answer)
    status, _, body = post(f"{http}/v1/traces", request.SerializeToString())
    equal("HTTP answers 200 to a request with three bad spans of ten", status, 200)
    partial_success("HTTP", trace_service_pb2.ExportTraceServiceResponse.FromString(body))

    code, details = refused(sender, b"\xff\xff\xff\xff not protobuf")
    equal("gRPC refuses a body that is no protobuf for good", code, grpc.StatusCode.INVALID_ARGUMENT)
    check("and gives no retry hint", details is None or not retry_info(details))
    status, headers, body = post(f"{http}/v1/traces", b"\xff\xff\xff\xff not protobuf")
    equal("HTTP refuses it for good", status, 400)
    check("and gives no Retry-After", "retry-after" not in headers)
    check("and its body is a google.rpc.Status with a message", status_pb2.Status.FromString(body).message)

    text = json.dumps({"resourceSpans": []}).encode()
    status, headers, body = post(f"{http}/v1/traces", gzip.compress(text), "application/json", "gzip")
    equal("HTTP takes OTLP/JSON with gzip", status, 200)
    equal("and answers in JSON", (headers["content-type"].split(";")[0], json.loads(body)), ("application/json", {}))
    equal("HTTP refuses a content type it does not know", post(f"{http}/v1/traces", b"x", "text/plain")[0], 415)
    equal("HTTP refuses a path it does not have", post(f"{http}/v1/profiles", b"")[0], 404)


def partial_success(way, answer):
    partial = answer.partial_success
    equal(f"{way} counts the three bad spans of ten", partial.rejected_spans, 3)
    check(f"{way} says why", partial.error_message)


# ---- busy ---------------------------------------------------------------------------------------


def busy(grpc_port, http, out):
    """Many senders at once: some are told to wait, all end well, and the SDK retries by itself."""
    seen = {"grpc": None, "http": None}
    stop = threading.Event()

    def press_grpc():
        sender, request = otlp.Sender(grpc_port), otlp.spans(50, source="press/grpc")[0]
        while not stop.is_set():
            code, details = refused(sender, request)
            if code is not None and seen["grpc"] is None:
                seen["grpc"] = (code, retry_info(details))

    def press_http():
        body = otlp.spans(50, source="press/http")[0].SerializeToString()
        while not stop.is_set():
            status, headers, _ = post(f"{http}/v1/traces", body)
            if status != 200 and seen["http"] is None:
                seen["http"] = (status, headers.get("retry-after"))

    with ThreadPoolExecutor(8) as pool:
        pressing = [pool.submit(press) for press in [press_grpc] * 4 + [press_http] * 4]
        stop.wait(4)
        stop.set()
        for press in pressing:
            press.result()
    check(
        "a busy lapwing refuses over gRPC with a retryable code",
        seen["grpc"] and seen["grpc"][0] in otlp.RETRYABLE,
        str(seen["grpc"]),
    )
    check("and says by RetryInfo how long to wait", seen["grpc"] and seen["grpc"][1], str(seen["grpc"]))
    check(
        "a busy lapwing refuses over HTTP with 429 or 503",
        seen["http"] and seen["http"][0] in (429, 503),
        str(seen["http"]),
    )
    check(
        "and says by Retry-After how long to wait",
        seen["http"] and seen["http"][1] and int(seen["http"][1]) > 0,
        str(seen["http"]),
    )

    # The SDK's own exporters against the same pressure: they wait as told and lose nothing.
    exporters = [GrpcSpans(endpoint=f"127.0.0.1:{grpc_port}", insecure=True, timeout=60) for _ in range(2)]
    exporters += [HttpSpans(f"{http}/v1/traces", timeout=60) for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda e: push(*e), enumerate(exporters)))
    check("every SDK exporter gets everything through a busy lapwing", all(done), str(done))
    with open(out, "w") as file:
        json.dump({f"busy-{number}": {"spans": 60, "logs": 0} for number in range(len(exporters))}, file)


def push(number, exporter):
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"sdk-busy-{number}", "service.namespace": "conformance"})
    )
    provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=10, export_timeout_millis=60_000))
    tracer = provider.get_tracer("conformance")
    for _ in range(60):
        with tracer.start_as_current_span("GET /orders"):
            pass
    flushed = provider.force_flush(60_000)
    provider.shutdown()
    return flushed


# ---- sending ------------------------------------------------------------------------------------


def refused(sender, request):
    """(code, trailing metadata's google.rpc.Status) of a refusal; (None, None) if it was accepted."""
    try:
        sender.send("traces", request)
        return None, None
    except grpc.RpcError as error:
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                return error.code(), status_pb2.Status.FromString(value)
        return error.code(), None


def retry_info(status):
    """Seconds to wait; None if the status has no RetryInfo."""
    for detail in status.details if status else ():
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            return info.retry_delay.seconds + info.retry_delay.nanos / 1e9
    return None


def post(url, body, content_type="application/x-protobuf", encoding=None):
    headers = {"content-type": content_type} | ({"content-encoding": encoding} if encoding else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=20) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


if __name__ == "__main__":
    main()
