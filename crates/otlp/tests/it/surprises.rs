//! What surprises in the telemetry of real proxies: each of the twelve findings of the recording, of which
//! these are numbers 1 to 6 and 8 to 11. Number 7 (chunked bodies) is tested at the door, number 12 (the
//! recording's zstd window) where recordings are read.

use lapwing_otlp::{Encoding, Payload};

use crate::help::{NOW, decode, decoder, inventory, log, logs, row_of_log, row_of_span, span, traces, with};

const TRACE: [u8; 16] = [7; 16];

/// An access log of the callee as Istio's labels and the identity labels give it.
const INBOUND: &[(&str, &str)] = &[
    ("authority", "cart.shop.svc.cluster.local:8080"),
    ("bytes_received", "0"),
    ("bytes_sent", "1887"),
    ("downstream_local_address", "127.31.1.12:8080"),
    ("downstream_local_uri_san", "spiffe://cluster.local/ns/shop/sa/cart"),
    ("downstream_peer_uri_san", "spiffe://cluster.local/ns/shop/sa/frontend"),
    ("downstream_remote_address", "81.41.159.210:0"),
    ("downstream_tls_version", "TLSv1.3"),
    ("downstream_transport_failure_reason", "-"),
    ("duration", "20"),
    ("method", "GET"),
    ("path", "/cart/2d7207bc-3a06-49da-bd02-5c0bc57a1359?email=george.inglis4850@mail.example.net"),
    ("requested_server_name", "outbound_.8080_._.cart.shop.svc.cluster.local"),
    ("response_code", "200"),
    ("response_code_details", "via_upstream"),
    ("response_flags", "-"),
    ("upstream_cluster", "inbound|9080||"),
    ("upstream_host", "127.31.1.12:9080"),
    ("upstream_transport_failure_reason", "-"),
];

/// The same hop as the caller's proxy logs it.
const OUTBOUND: &[(&str, &str)] = &[
    ("authority", "cart.shop.svc.cluster.local:8080"),
    ("bytes_received", "0"),
    ("bytes_sent", "1887"),
    ("downstream_local_address", "127.31.1.11:15001"),
    ("downstream_remote_address", "81.41.159.210:0"),
    ("downstream_tls_version", "-"),
    ("duration", "22"),
    ("method", "GET"),
    ("path", "/cart/2d7207bc-3a06-49da-bd02-5c0bc57a1359?email=george.inglis4850@mail.example.net"),
    ("requested_server_name", "-"),
    ("response_code", "200"),
    ("response_code_details", "via_upstream"),
    ("response_flags", "-"),
    ("upstream_cluster", "outbound|8080||cart.shop.svc.cluster.local"),
    ("upstream_host", "127.31.1.12:8080"),
    ("upstream_local_address", "127.31.1.11:39682"),
    ("upstream_local_uri_san", "spiffe://cluster.local/ns/shop/sa/frontend"),
    ("upstream_peer_uri_san", "spiffe://cluster.local/ns/shop/sa/cart"),
    ("upstream_transport_failure_reason", "-"),
];

/// A connection that failed before any request.
const FAILED: &[(&str, &str)] = &[
    ("authority", "-"),
    ("downstream_local_address", "127.31.1.12:8080"),
    ("downstream_local_uri_san", "spiffe://cluster.local/ns/shop/sa/cart"),
    ("downstream_peer_uri_san", "spiffe://cluster.local/ns/shop/sa/checkout"),
    ("downstream_remote_address", "127.31.1.13:46720"),
    ("downstream_tls_version", "TLSv1.3"),
    (
        "downstream_transport_failure_reason",
        "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_X509_verify_cert:_certificate_verification_error_at_depth_0:_certificate_has_expired:TLS_error_end",
    ),
    ("method", "-"),
    ("path", "-"),
    ("requested_server_name", "outbound_.8080_._.cart.shop.svc.cluster.local"),
    ("response_code", "0"),
    ("response_code_details", "-"),
    ("response_flags", "-"),
    ("upstream_cluster", "-"),
];

#[test]
fn surprise_1_stock_istio_logs_are_read_from_their_text_and_named_by_the_inventory() {
    let mut record = log(&[]);
    let line = "[2026-11-22T01:23:28.454Z] \"GET /export?since=10 HTTP/1.1\" 200 - via_upstream - \"-\" 0 18372 25 23 \"-\" \"reporting/2.4.1 aiohttp\" \"f34c7aee-b676-99cc-b6ff-446da56358fa\" \"ledger.pay.svc.cluster.local:8080\" \"127.31.2.12:8080\" outbound|8080||ledger.pay.svc.cluster.local 127.31.5.11:55218 127.31.5.11:15001 127.31.5.11:49261 - default\n";
    let body = opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(line.to_owned());
    record.body = Some(opentelemetry_proto::tonic::common::v1::AnyValue { value: Some(body) });
    let row = row_of_log(&[], record);
    assert_eq!((row.get("signal"), row.pair().as_str()), ("log_client", "ops/reporting -> pay/ledger"));
    assert_eq!((row.get("operation"), row.get("status"), row.get("outcome")), ("GET /export", "200", "ok"));
    assert_eq!((row.get("bytes_out"), row.get("duration_ns")), ("18372", "25000000"));
    assert_eq!(row.attribute("user_agent"), Some("reporting/2.4.1 aiohttp"), "its fields are attributes");
    assert_eq!(row.attribute("body"), None, "which say all that the text says");
}

#[test]
fn surprise_2_a_hop_logged_by_both_sides_is_two_rows_of_two_signals() {
    // One attempt failed, the retry did not: only the callee's log knows of the failure.
    let body = logs(&[], vec![log(OUTBOUND), log(&with(INBOUND, &[("response_code", "503")])), log(INBOUND)]);
    let (_, rows) = decode(&mut decoder(inventory()), Payload::Logs, Encoding::Protobuf, &body, NOW).unwrap();
    let seen: Vec<_> = rows.iter().map(|r| (r.get("signal"), r.pair(), r.get("outcome"))).collect();
    let pair = "shop/frontend -> shop/cart".to_owned();
    let expect = [
        ("log_client", pair.clone(), "ok"),
        ("log_server", pair.clone(), "server_error"),
        ("log_server", pair, "ok"),
    ];
    assert_eq!(seen, expect);
}

#[test]
fn surprise_3_an_end_clients_address_with_port_0_is_not_the_callers() {
    // Even if the forwarded address is that of a pod: with port 0 it is a header's word.
    let no_identity =
        with(INBOUND, &[("downstream_peer_uri_san", "-"), ("downstream_remote_address", "127.31.1.11:0")]);
    assert_eq!(row_of_log(&[], log(&no_identity)).pair(), "? -> shop/cart");
    let connected = with(&no_identity, &[("downstream_remote_address", "127.31.1.11:49128")]);
    assert_eq!(row_of_log(&[], log(&connected)).pair(), "shop/frontend -> shop/cart");
}

#[test]
fn surprise_4_certificate_failures_look_different_on_each_side() {
    // The callee has the whole reason, and no request.
    let callee = row_of_log(&[], log(FAILED));
    assert_eq!((callee.get("signal"), callee.pair().as_str()), ("log_server", "shop/checkout -> shop/cart"));
    assert_eq!(
        (callee.get("tls"), callee.get("outcome"), callee.get("status")),
        ("failed:expired", "refused", "0")
    );
    assert_eq!(callee.get("source_identity"), "", "a refused certificate proves nothing");
    assert_eq!(
        callee.attribute("downstream_peer_uri_san"),
        Some("spiffe://cluster.local/ns/shop/sa/checkout")
    );
    // The caller whose certificate is refused sees a reset.
    let reset = [
        ("response_code", "503"),
        ("response_flags", "UC"),
        ("response_code_details", "upstream_reset_before_response_started{connection_termination}"),
    ];
    let caller = row_of_log(&[], log(&with(OUTBOUND, &reset)));
    assert_eq!((caller.get("tls"), caller.get("outcome"), caller.get("flags")), ("", "refused", "UC"));
    // The caller that refuses the callee says why.
    let refusal = "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_SAN_matcher,_certificate_SANs_are_[spiffe://partner.example/ns/shop/sa/cart]:TLS_error_end";
    let refusing = [
        ("response_code", "503"),
        ("response_flags", "URX,UF"),
        ("upstream_transport_failure_reason", refusal),
        ("upstream_local_uri_san", "-"),
        ("upstream_local_address", "-"),
        ("upstream_peer_uri_san", "-"),
    ];
    let of = [("service.name", "frontend.shop"), ("service.namespace", "shop")];
    let caller = row_of_log(&of, log(&with(OUTBOUND, &refusing)));
    assert_eq!(caller.pair(), "shop/frontend -> shop/cart");
    assert_eq!((caller.get("tls"), caller.get("outcome")), ("failed:san_mismatch", "refused"));
}

#[test]
fn surprise_5_a_certificate_of_the_wrong_name_passes_tls_and_shows_as_an_unknown_principal() {
    let row = row_of_log(
        &[],
        log(&with(INBOUND, &[("downstream_peer_uri_san", "spiffe://cluster.local/ns/default/sa/default")])),
    );
    assert_eq!((row.pair().as_str(), row.get("tls")), ("default/default -> shop/cart", "TLSv1.3"));
    assert_eq!(row.get("source_identity"), "spiffe://cluster.local/ns/default/sa/default");
    // One of another trust domain is a source of its own, even where its path names one of our workloads.
    let row = row_of_log(
        &[],
        log(&with(INBOUND, &[("downstream_peer_uri_san", "spiffe://partner.example/ns/shop/sa/frontend")])),
    );
    assert_eq!(row.pair(), "shop.partner.example/frontend -> shop/cart");
}

#[test]
fn surprise_6_a_pod_with_a_bad_certificate_keeps_its_name_in_both_directions() {
    let foreign = "spiffe://partner.example/ns/shop/sa/cart";
    let alert =
        "TLS_error:|268436502:SSL_routines:OPENSSL_internal:SSLV3_ALERT_CERTIFICATE_UNKNOWN:TLS_error_end";
    let called = with(
        FAILED,
        &[
            ("downstream_local_uri_san", foreign),
            ("downstream_peer_uri_san", "-"),
            ("downstream_transport_failure_reason", alert),
        ],
    );
    let row = row_of_log(&[], log(&called));
    assert_eq!((row.pair().as_str(), row.get("tls")), ("shop/checkout -> shop/cart", "failed:untrusted"));
    let calling = with(
        OUTBOUND,
        &[
            ("upstream_local_uri_san", foreign),
            ("upstream_local_address", "127.31.1.12:4000"),
            ("upstream_cluster", "outbound|8080||ledger.pay.svc.cluster.local"),
        ],
    );
    assert_eq!(row_of_log(&[], log(&calling)).pair(), "shop/cart -> pay/ledger");
}

#[test]
fn surprise_8_spans_are_joined_by_their_ids_and_not_by_a_request_id_that_the_proxy_rewrites() {
    // Envoy overwrites the 15th character of x-request-id on its way.
    let mut client = span(
        3,
        &[
            ("guid:x-request-id", "0a9ace44-cdd1-4cf7-a040-f077cdf308fa"),
            ("upstream_cluster", "outbound|8080||cart.shop.svc.cluster.local"),
        ],
    );
    let mut server = span(
        2,
        &[
            ("guid:x-request-id", "0a9ace44-cdd1-9cf7-a040-f077cdf308fa"),
            ("upstream_cluster", "inbound|9080||"),
        ],
    );
    (client.trace_id, client.span_id) = (TRACE.to_vec(), vec![1; 8]);
    (server.trace_id, server.span_id, server.parent_span_id) = (TRACE.to_vec(), vec![2; 8], vec![1; 8]);
    let mut decoder = decoder(inventory());
    let mut row = |of, record| {
        let body = traces(&[("service.name", of)], vec![record]);
        decode(&mut decoder, Payload::Traces, Encoding::Protobuf, &body, NOW).unwrap().1.remove(0)
    };
    assert_eq!(
        row("cart.shop", server.clone()).pair(),
        "? -> shop/cart",
        "before the client's span nobody says who called"
    );
    assert_eq!(row("frontend.shop", client).pair(), "shop/frontend -> shop/cart");
    let joined = row("cart.shop", server);
    assert_eq!(joined.pair(), "shop/frontend -> shop/cart");
    assert_eq!(joined.attribute("guid:x-request-id"), Some("0a9ace44-cdd1-9cf7-a040-f077cdf308fa"));
    assert_eq!((decoder.stats().server_spans_joined, decoder.stats().server_spans_unjoined), (1, 1));
}

#[test]
fn surprise_9_a_client_span_in_error_on_4xx_blames_the_caller() {
    let with_status = |kind, status, code| {
        let mut record = span(
            kind,
            &[
                ("http.status_code", status),
                ("upstream_cluster", if kind == 3 { "outbound|1||a.b.svc" } else { "inbound|1||" }),
            ],
        );
        record.status = Some(opentelemetry_proto::tonic::trace::v1::Status { code, ..Default::default() });
        row_of_span(&[("service.name", "cart.shop")], record).get("outcome").to_owned()
    };
    assert_eq!(with_status(3, "404", 2), "client_error");
    assert_eq!(with_status(2, "404", 0), "client_error");
    assert_eq!(with_status(3, "503", 2), "server_error");
    assert_eq!(with_status(2, "503", 2), "server_error");
    assert_eq!(with_status(3, "200", 0), "ok");
}

#[test]
fn surprise_10_personal_data_stays_among_the_attributes_where_redaction_reads_it() {
    let planted = [
        ("path", "/users/isla.merriweather17@mail.example.net/active?nhs=9434765919"),
        ("x_forwarded_for", "81.41.159.210"),
        ("authorization", "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln"),
        ("referer", "https://www.shop.example/?email=a%40b.example"),
    ];
    let row = row_of_log(&[], log(&with(INBOUND, &planted)));
    for column in ["cluster", "source", "destination", "operation", "path", "method"] {
        assert!(!row.get(column).contains(['@', '%', '?']) && !row.get(column).contains("isla"), "{column}");
    }
    assert_eq!(row.get("operation"), "GET /users/{}/active");
    for (name, value) in planted {
        assert_eq!(row.attribute(name), Some(value), "kept as it was for redaction to judge");
    }
}

#[test]
fn surprise_11_linkerds_access_log_names_the_caller_and_its_resource_the_callee() {
    let line = [
        ("client.addr", "10.42.0.63:51148"),
        ("client.id", "web.emojivoto.serviceaccount.identity.linkerd.cluster.local"),
        ("host", "emoji-svc.emojivoto.svc.cluster.local:8080"),
        ("method", "POST"),
        ("processing_ns", "38474"),
        ("request_bytes", ""),
        ("response_bytes", "123"),
        ("status", "200"),
        ("timestamp", "2026-11-22T01:24:59.5Z"),
        ("total_ns", "1234567"),
        ("trace_id", ""),
        ("uri", "http://emoji-svc.emojivoto.svc.cluster.local:8080/emojivoto.v1.EmojiService/ListAll"),
        ("user_agent", "grpc-go/1.29.1"),
        ("version", "HTTP/2.0"),
    ];
    let of = [
        ("k8s.namespace.name", "emojivoto"),
        ("k8s.deployment.name", "emoji"),
        ("service.name", "linkerd-proxy"),
    ];
    let as_attributes = row_of_log(&of, log(&line));
    let mut in_body = log(&[]);
    let json = r#"{"client.addr":"10.42.0.63:51148","client.id":"web.emojivoto.serviceaccount.identity.linkerd.cluster.local","host":"emoji-svc.emojivoto.svc.cluster.local:8080","method":"POST","processing_ns":"38474","request_bytes":"","response_bytes":"123","status":200,"timestamp":"2026-11-22T01:24:59.5Z","total_ns":"1234567","trace_id":"","uri":"http://emoji-svc.emojivoto.svc.cluster.local:8080/emojivoto.v1.EmojiService/ListAll","user_agent":"grpc-go/1.29.1","version":"HTTP/2.0"}"#;
    let body = opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(json.to_owned());
    in_body.body = Some(opentelemetry_proto::tonic::common::v1::AnyValue { value: Some(body) });
    for row in [as_attributes, row_of_log(&of, in_body)] {
        assert_eq!(
            (row.get("signal"), row.pair().as_str()),
            ("log_server", "emojivoto/web -> emojivoto/emoji")
        );
        assert_eq!(row.get("operation"), "emojivoto.v1.EmojiService/ListAll");
        assert_eq!(
            (row.get("status"), row.get("outcome"), row.get("duration_ns"), row.get("bytes_out")),
            ("200", "ok", "1234567", "123")
        );
        assert_eq!(row.get("source_identity"), "web.emojivoto.serviceaccount.identity.linkerd.cluster.local");
        assert_eq!(
            (row.get("destination_identity"), row.get("tls")),
            ("", ""),
            "it says nothing of the callee's identity"
        );
    }
    // Without a resource the host header is the last resort, if it names a service of the mesh.
    assert_eq!(row_of_log(&[], log(&line)).pair(), "emojivoto/web -> emojivoto/emoji-svc");
    assert_eq!(
        row_of_log(&[], log(&with(&line, &[("host", "www.example.com"), ("client.id", "-")]))).pair(),
        "? -> ?"
    );
}
