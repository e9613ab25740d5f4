"""The Envoy configuration of one workload's sidecar, in the shape a mesh control plane gives it.

An outbound listener with one cluster per other workload, an inbound listener with mutual TLS and a
policy, tracing and access logs sent by OTLP. Names (clusters, server names, decorators, log labels)
are those of Istio, because they are what telemetry about a mesh is read by.
"""

import dataclasses
import json
import pathlib

OUTBOUND_PORT, INBOUND_PORT, APP_PORT, SERVICE_PORT = 15001, 15006, 9080, 8080
TYPE = "type.googleapis.com/"


@dataclasses.dataclass
class Workload:
    """One service with one replica; `logs` is `labels`, `text` or `http` (labels, sent by OTLP/HTTP)."""

    namespace: str
    service: str
    address: str
    logs: str
    # (caller's service account path, path prefix) that the inbound policy lets in; None lets everyone in.
    allow: list[tuple[str, str]] | None = None

    @property
    def name(self):
        return f"{self.namespace}/{self.service}"

    @property
    def host(self):
        return f"{self.service}.{self.namespace}.svc.cluster.local"

    @property
    def spiffe_id(self):
        return f"spiffe://cluster.local/ns/{self.namespace}/sa/{self.service}"


def write_bootstrap(folder: pathlib.Path, workload, workloads, grpc_port, http_port) -> pathlib.Path:
    """Writes the sidecar's whole configuration below FOLDER and returns its path."""
    upstreams = [w for w in workloads if w is not workload]
    clusters = [_outbound_cluster(folder, workload, w) for w in upstreams]
    clusters += [
        _cluster(f"inbound|{APP_PORT}||", workload.address, APP_PORT),
        _cluster("otlp_grpc", "127.0.0.1", grpc_port, protocol="http2_protocol_options"),
        _cluster("otlp_http", "127.0.0.1", http_port, protocol="http_protocol_options"),
    ]
    bootstrap = {
        "node": {
            "id": f"sidecar~{workload.address}~{workload.service}-v1-0.{workload.namespace}~"
            f"{workload.namespace}.svc.cluster.local",
            "cluster": f"{workload.service}.{workload.namespace}",
        },
        "static_resources": {
            "listeners": [_outbound_listener(workload, upstreams), _inbound_listener(folder, workload)],
            "clusters": clusters,
        },
    }
    path = folder / f"{workload.service}.json"
    path.write_text(json.dumps(bootstrap, indent=1))
    return path


def write_certificate(folder: pathlib.Path, workload, variant: str) -> None:
    """Hands the sidecar a certificate; Envoy watches the folder and takes it within a moment."""
    pem = lambda kind: {"inline_string": (folder / f"certificates/{workload.service}.{variant}.{kind}").read_text()}
    secret = {
        "@type": TYPE + "envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "default",
        "tls_certificate": {"certificate_chain": pem("crt"), "private_key": pem("key")},
    }
    target = folder / f"secrets/{workload.service}"
    target.mkdir(parents=True, exist_ok=True)
    (target / ".new").write_text(json.dumps({"resources": [secret]}))
    (target / ".new").rename(target / "secret.json")


# ---- listeners ----------------------------------------------------------------------------------


def _outbound_listener(workload, upstreams):
    hosts = [
        {
            "name": f"{w.host}:{SERVICE_PORT}",
            "domains": [w.host, f"{w.host}:{SERVICE_PORT}"],
            "routes": [_route(w, f"outbound|{SERVICE_PORT}||{w.host}")],
        }
        for w in upstreams
    ]
    routes = {"name": str(SERVICE_PORT), "virtual_hosts": hosts}
    return {
        "name": f"{workload.address}_{OUTBOUND_PORT}",
        "address": _socket(workload.address, OUTBOUND_PORT),
        "traffic_direction": "OUTBOUND",
        "filter_chains": [{"filters": [_connection_manager(workload, "outbound", [], routes)]}],
    }


def _inbound_listener(folder, workload):
    routes = {
        "name": f"inbound|{APP_PORT}||",
        "virtual_hosts": [
            {
                "name": f"inbound|http|{SERVICE_PORT}",
                "domains": ["*"],
                "routes": [_route(workload, f"inbound|{APP_PORT}||")],
            }
        ],
    }
    policy = [] if workload.allow is None else [_policy(workload)]
    peers = {"san_type": "URI", "matcher": {"prefix": "spiffe://cluster.local/"}}
    tls = _transport(
        "Downstream",
        require_client_certificate=True,
        common_tls_context=_tls_context(folder, workload, peers, ["h2", "http/1.1"]),
    )
    # A connection refused in the TLS handshake makes no request, so only the listener can log it.
    handshakes = _access_log(workload)
    handshakes["filter"] = {
        "extension_filter": _typed(
            "envoy.access_loggers.extension_filters.cel",
            "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            expression="has(connection.transport_failure_reason) || connection.transport_failure_reason != ''",
        )
    }
    inspector = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
    manager = _connection_manager(workload, "inbound", policy, routes, forward_client_cert_details="APPEND_FORWARD")
    return {
        "name": "virtualInbound",
        "address": _socket(workload.address, INBOUND_PORT),
        "traffic_direction": "INBOUND",
        "access_log": [handshakes],
        "listener_filters": [_typed("envoy.filters.listener.tls_inspector", inspector)],
        "filter_chains": [{"transport_socket": tls, "filters": [manager]}],
    }


def _route(workload, cluster):
    return {
        "name": "default",
        "match": {"prefix": "/"},
        "decorator": {"operation": f"{workload.host}:{SERVICE_PORT}/*"},
        "route": {"cluster": cluster, "timeout": "10s"},
    }


def _connection_manager(workload, direction, filters, routes, **more):
    router = _typed("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router")
    return _typed(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=f"{direction}_{SERVICE_PORT}",
        route_config={**routes, "validate_clusters": False},
        http_filters=[*filters, router],
        access_log=[_access_log(workload)],
        tracing=_tracing(workload),
        generate_request_id=True,
        preserve_external_request_id=True,
        **more,
    )


def _policy(workload):
    """Role-based access: named callers on named paths, everything else is denied."""
    policies = {
        f"ns[{workload.namespace}]-policy[{workload.service}]-rule[{i}]": {
            "permissions": [{"url_path": {"path": {"prefix": prefix}}}],
            "principals": [{"authenticated": {"principal_name": {"exact": f"spiffe://cluster.local/{caller}"}}}],
        }
        for i, (caller, prefix) in enumerate(workload.allow)
    }
    return _typed(
        "envoy.filters.http.rbac",
        "envoy.extensions.filters.http.rbac.v3.RBAC",
        rules={"action": "ALLOW", "policies": policies},
    )


# ---- clusters and TLS ---------------------------------------------------------------------------


def _outbound_cluster(folder, workload, upstream):
    server = {"san_type": "URI", "matcher": {"exact": upstream.spiffe_id}}
    cluster = _cluster(
        f"outbound|{SERVICE_PORT}||{upstream.host}", upstream.address, INBOUND_PORT, "http2_protocol_options"
    )
    # Short connections, so that a swapped certificate takes effect within seconds.
    options = cluster["typed_extension_protocol_options"]
    next(iter(options.values()))["common_http_protocol_options"] = {"max_connection_duration": "4s"}
    return {
        **cluster,
        "upstream_bind_config": {"source_address": {"address": workload.address, "port_value": 0}},
        "transport_socket": _transport(
            "Upstream",
            sni=f"outbound_.{SERVICE_PORT}_._.{upstream.host}",
            common_tls_context=_tls_context(folder, workload, server, ["istio", "h2"]),
        ),
    }


def _cluster(name, address, port, protocol="http_protocol_options"):
    endpoint = {"endpoint": {"address": _socket(address, port)}}
    http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {
            http: {"@type": TYPE + http, "explicit_http_config": {protocol: {}}},
        },
    }


def _tls_context(folder, workload, peer, protocols):
    secret = {
        "path": str(folder / f"secrets/{workload.service}/secret.json"),
        "watched_directory": {"path": str(folder / f"secrets/{workload.service}")},
    }
    return {
        "alpn_protocols": protocols,
        "tls_certificate_sds_secret_configs": [
            {"name": "default", "sds_config": {"path_config_source": secret, "resource_api_version": "V3"}}
        ],
        "validation_context": {
            "trusted_ca": {"filename": str(folder / "certificates/ca.crt")},
            "match_typed_subject_alt_names": [peer],
        },
    }


def _transport(side, **context):
    kind = f"envoy.extensions.transport_sockets.tls.v3.{side}TlsContext"
    return _typed("envoy.transport_sockets.tls", kind, **context)


# ---- telemetry ----------------------------------------------------------------------------------

# Istio's default text line (meshconfig `accessLogFormat` left empty).
TEXT_LINE = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% '
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% '
    '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" '
    '"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)

LABELS = {
    "start_time": "START_TIME",
    "method": "REQ(:METHOD)",
    "path": "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)",
    "protocol": "PROTOCOL",
    "response_code": "RESPONSE_CODE",
    "response_flags": "RESPONSE_FLAGS",
    "response_code_details": "RESPONSE_CODE_DETAILS",
    "connection_termination_details": "CONNECTION_TERMINATION_DETAILS",
    "bytes_received": "BYTES_RECEIVED",
    "bytes_sent": "BYTES_SENT",
    "duration": "DURATION",
    "user_agent": "REQ(USER-AGENT)",
    "request_id": "REQ(X-REQUEST-ID)",
    "authority": "REQ(:AUTHORITY)",
    "upstream_host": "UPSTREAM_HOST",
    "upstream_cluster": "UPSTREAM_CLUSTER_RAW",
    "upstream_local_address": "UPSTREAM_LOCAL_ADDRESS",
    "downstream_local_address": "DOWNSTREAM_LOCAL_ADDRESS",
    "downstream_remote_address": "DOWNSTREAM_REMOTE_ADDRESS",
    "requested_server_name": "REQUESTED_SERVER_NAME",
    "route_name": "ROUTE_NAME",
    "upstream_transport_failure_reason": "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "downstream_transport_failure_reason": "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "downstream_peer_uri_san": "DOWNSTREAM_PEER_URI_SAN",
    "downstream_local_uri_san": "DOWNSTREAM_LOCAL_URI_SAN",
    "upstream_peer_uri_san": "UPSTREAM_PEER_URI_SAN",
    "upstream_local_uri_san": "UPSTREAM_LOCAL_URI_SAN",
    "x_user_email": "REQ(X-USER-EMAIL)",
}


def _access_log(workload):
    config = _exporter(workload, "logs")
    if workload.logs == "text":
        config.update(disable_builtin_labels=True, body={"string_value": TEXT_LINE})
    else:
        resource = {
            "service.name": workload.service,
            "service.namespace": workload.namespace,
            "k8s.namespace.name": workload.namespace,
            "k8s.pod.ip": workload.address,
        }
        config.update(
            body={"string_value": "%REQ(:METHOD)% %RESPONSE_CODE%"},
            attributes=_values({label: f"%{operator}%" for label, operator in LABELS.items()}),
            resource_attributes=_values(resource),
        )
    kind = "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"
    config["log_name"] = "otel_envoy_accesslog"
    return _typed("envoy.access_loggers.open_telemetry", kind, **config)


def _tracing(workload):
    provider = _typed(
        "envoy.tracers.opentelemetry",
        "envoy.config.trace.v3.OpenTelemetryConfig",
        service_name=f"{workload.service}.{workload.namespace}",
        **_exporter(workload, "traces"),
    )
    literal = lambda tag, value: {"tag": tag, "literal": {"value": value}}
    return {
        "provider": provider,
        "random_sampling": {"value": 100},
        "custom_tags": [
            literal("istio.canonical_service", workload.service),
            literal("istio.namespace", workload.namespace),
            {"tag": "enduser.id", "request_header": {"name": "x-user-email"}},
        ],
    }


def _exporter(workload, signal):
    if workload.logs == "http":
        uri = {"uri": f"http://lapwing.local/v1/{signal}", "cluster": "otlp_http", "timeout": "5s"}
        return {"http_service": {"http_uri": uri}}
    return {"grpc_service": {"envoy_grpc": {"cluster_name": "otlp_grpc"}, "timeout": "5s"}}


def _values(pairs):
    return {"values": [{"key": key, "value": {"string_value": value}} for key, value in pairs.items()]}


def _typed(name, kind, **fields):
    return {"name": name, "typed_config": {"@type": TYPE + kind, **fields}}


def _socket(address, port):
    return {"socket_address": {"address": address, "port_value": port}}
