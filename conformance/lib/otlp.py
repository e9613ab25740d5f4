"""Makes OTLP requests like a mesh's and sends them by plain gRPC, with nothing between."""

import os
import time

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

METHODS = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}


class Sender:
    """Sends requests over one gRPC channel; a request is message or bytes."""

    def __init__(self, port):
        options = [("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 100)]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
        self.calls = {
            signal: self.channel.unary_unary(
                method, request_serializer=_serialized, response_deserializer=lambda raw: raw
            )
            for signal, method in METHODS.items()
        }

    def send(self, signal, request, timeout=20, **options):
        """Sends once; returns the answer's bytes or raises grpc.RpcError."""
        return self.calls[signal](request, timeout=timeout, **options)

    def send_until_accepted(self, signal, request, deadline):
        """Sends until it is accepted, as an OTLP sender does with retryable refusals."""
        while True:
            try:
                return self.send(signal, request, timeout=5)
            except grpc.RpcError as error:
                if error.code() not in RETRYABLE or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


RETRYABLE = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}


def spans(count, source="shop/front", destination="shop/orders"):
    """A trace request with COUNT client spans of one pair, and their span ids."""
    request = trace_service_pb2.ExportTraceServiceRequest()
    block = request.resource_spans.add()
    namespace, service = source.split("/")
    attribute(block.resource, "service.name", f"{service}.{namespace}")
    scope = block.scope_spans.add()
    scope.scope.name = "envoy"
    now, ids = time.time_ns(), []
    to_namespace, to_service = destination.split("/")
    host = f"{to_service}.{to_namespace}.svc.cluster.local"
    for _ in range(count):
        span = scope.spans.add()
        span.trace_id, span.span_id = os.urandom(16), os.urandom(8)
        span.name, span.kind = f"{host}:8080/*", span.SPAN_KIND_CLIENT
        span.start_time_unix_nano, span.end_time_unix_nano = now - 5_000_000, now
        for key, value in (
            ("node_id", f"sidecar~127.77.0.11~{service}-v1-0.{namespace}~{namespace}.svc.cluster.local"),
            ("http.method", "GET"),
            ("http.url", f"http://{host}/orders/17"),
            ("http.status_code", "200"),
            ("upstream_cluster.name", f"outbound|8080||{host}"),
            ("upstream_cluster", f"outbound|8080||{host}"),
            ("component", "proxy"),
            ("response_flags", "-"),
            ("request_size", "0"),
            ("response_size", "512"),
        ):
            attribute(span, key, value)
        ids.append(span.span_id)
    return request, ids


def access_logs(count, source="shop/front", destination="shop/orders"):
    """A logs request with COUNT access-log records of the destination's proxy, and their span ids."""
    request = logs_service_pb2.ExportLogsServiceRequest()
    block = request.resource_logs.add()
    namespace, service = destination.split("/")
    attribute(block.resource, "service.name", service)
    attribute(block.resource, "service.namespace", namespace)
    scope = block.scope_logs.add()
    now, ids = time.time_ns(), []
    from_namespace, from_service = source.split("/")
    host = f"{service}.{namespace}.svc.cluster.local"
    for _ in range(count):
        record = scope.log_records.add()
        record.trace_id, record.span_id, record.time_unix_nano = os.urandom(16), os.urandom(8), now
        record.body.string_value = "GET 200"
        for key, value in (
            ("method", "GET"),
            ("path", "/orders/17"),
            ("protocol", "HTTP/2"),
            ("response_code", "200"),
            ("response_flags", "-"),
            ("response_code_details", "via_upstream"),
            ("bytes_received", "0"),
            ("bytes_sent", "512"),
            ("duration", "5"),
            ("authority", f"{host}:8080"),
            ("upstream_cluster", "inbound|9080||"),
            ("requested_server_name", f"outbound_.8080_._.{host}"),
            ("downstream_peer_uri_san", f"spiffe://cluster.local/ns/{from_namespace}/sa/{from_service}"),
            ("downstream_local_uri_san", f"spiffe://cluster.local/ns/{namespace}/sa/{service}"),
        ):
            attribute(record, key, value)
        ids.append(record.span_id)
    return request, ids


def attribute(target, key, value):
    """Adds an attribute with a text value to a span, record or resource."""
    added = target.attributes.add()
    added.key, added.value.string_value = key, value


def _serialized(request):
    return request if isinstance(request, bytes) else request.SerializeToString()
