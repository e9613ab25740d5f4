"""Sends spans, logs and metrics with the OpenTelemetry Python SDK's own OTLP exporters.

    python export.py GRPC_PORT HTTP_PORT SENT.json

Writes how many spans and log records were sent by each way, and checks what each exporter answered.
"""

import json
import logging
import sys

from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind
from grpc import Compression as GrpcCompression

from checks import check, equal, finish

SPANS, LOGS = 120, 80


class Remember(logging.Handler):
    """What the exporters say in their own log."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def main():
    grpc_port, http_port, out = sys.argv[1:]
    log = Remember()
    logging.getLogger("opentelemetry").addHandler(log)
    logging.getLogger("opentelemetry").propagate = False
    http = f"http://127.0.0.1:{http_port}/v1"
    plain = dict(endpoint=f"127.0.0.1:{grpc_port}", insecure=True, timeout=10)
    grpc_gzip, http_gzip = GrpcCompression.Gzip, HttpCompression.Gzip
    ways = {
        "grpc": (GrpcSpans(**plain), GrpcLogs(**plain)),
        "grpc-gzip": (GrpcSpans(compression=grpc_gzip, **plain), GrpcLogs(compression=grpc_gzip, **plain)),
        "http": (HttpSpans(f"{http}/traces"), HttpLogs(f"{http}/logs")),
        "http-gzip": (
            HttpSpans(f"{http}/traces", compression=http_gzip),
            HttpLogs(f"{http}/logs", compression=http_gzip),
        ),
    }
    for way, (span_exporter, log_exporter) in ways.items():
        send_spans(way, span_exporter)
        send_logs(way, log_exporter)
        equal(f"the exporters over {way} report no error", log.lines, [])
        log.lines.clear()
    for way, exporter in (("grpc", GrpcMetrics(**plain)), ("http", HttpMetrics(f"{http}/metrics"))):
        refuse_metrics(way, exporter, log)
    with open(out, "w") as file:
        json.dump({way: {"spans": SPANS, "logs": LOGS} for way in ways}, file)
    finish()


def resource(way):
    return Resource.create({"service.name": f"sdk-{way}", "service.namespace": "conformance"})


def send_spans(way, exporter):
    provider = TracerProvider(resource=resource(way))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("conformance")
    for number in range(SPANS):
        attributes = {
            "http.request.method": "GET",
            "url.path": f"/orders/{number}",
            "http.response.status_code": 200,
            "peer.service": "shop/orders",
            "server.address": "orders.shop.svc.cluster.local",
        }
        with tracer.start_as_current_span("GET /orders", kind=SpanKind.CLIENT, attributes=attributes):
            pass
    check(f"the span exporter over {way} sends everything before its time is over", provider.force_flush(15_000))
    provider.shutdown()


def send_logs(way, exporter):
    provider = LoggerProvider(resource=resource(way))
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = provider.get_logger("conformance")
    for number in range(LOGS):
        logger.emit(
            body="GET 200",
            attributes={
                "method": "GET",
                "path": f"/orders/{number}",
                "protocol": "HTTP/2",
                "response_code": "200",
                "response_flags": "-",
                "upstream_cluster": "outbound|8080||orders.shop.svc.cluster.local",
                "authority": "orders.shop.svc.cluster.local:8080",
                "duration": "3",
            },
        )
    check(f"the log exporter over {way} sends everything before its time is over", provider.force_flush(15_000))
    provider.shutdown()


def refuse_metrics(way, exporter, log):
    reader = InMemoryMetricReader()
    provider = MeterProvider(resource=resource(way), metric_readers=[reader])
    provider.get_meter("conformance").create_counter("orders").add(1)
    log.lines.clear()
    result = exporter.export(reader.get_metrics_data(), timeout_millis=8_000)
    said = " ".join(log.lines)
    equal(f"the metrics exporter over {way} is refused", result.name, "FAILURE")
    # The HTTP exporter repeats the status line only; refusals.py reads the body.
    if way == "grpc":
        check(f"and the refusal over {way} says what lapwing takes", "traces and logs" in said, said)
    check(f"and it is not retried over {way}", "etry" not in said and "ransient" not in said, said)
    log.lines.clear()
    provider.shutdown()


if __name__ == "__main__":
    main()
