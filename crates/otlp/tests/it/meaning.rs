//! What calls other conventions tell of, and what is not a call.

use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span};

use crate::help::{log, row_of_log, row_of_span, span, with};

const FRONTEND: &[(&str, &str)] =
    &[("service.name", "frontend"), ("service.namespace", "shop"), ("k8s.cluster.name", "lon-1")];

fn text(text: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) })
}

#[test]
fn a_client_span_of_any_library_names_the_service_it_dialled() {
    let check = |attributes: &[(&str, &str)], expect: &str| {
        let row = row_of_span(FRONTEND, span(3, attributes));
        assert_eq!(
            (row.get("signal"), row.pair()),
            ("span_client", format!("shop/frontend -> {expect}")),
            "{attributes:?}"
        );
    };
    check(&[("server.address", "orders.data.svc.cluster.local"), ("server.port", "5432")], "data/orders");
    check(&[("server.address", "cart")], "shop/cart");
    check(&[("net.peer.name", "127.31.2.12")], "pay/ledger");
    check(&[("peer.service", "pay/ledger")], "pay/ledger");
    check(&[("service.peer.name", "ledger"), ("service.peer.namespace", "pay")], "pay/ledger");
    check(&[("http.url", "http://accounts.user:8080/x")], "user/accounts");
    check(&[("url.full", "https://api.example.com/x")], "?");
    check(&[("upstream_cluster", "outbound|443||api.example.com")], "external/api.example.com");
    check(
        &[("upstream_cluster", "PassthroughCluster"), ("upstream_host", "1.2.3.4:5")],
        "external/PassthroughCluster",
    );
}

#[test]
fn linkerds_spans_are_read_in_their_old_and_new_words() {
    let of = [
        ("service.name", "linkerd-proxy"),
        ("k8s.namespace.name", "emojivoto"),
        ("k8s.deployment.name", "web"),
    ];
    let old = [
        ("http.method", "GET"),
        ("http.path", "/api/list/17?x=1"),
        ("http.authority", "emoji-svc.emojivoto.svc.cluster.local:80"),
        ("http.status_code", "403"),
        ("direction", "outbound"),
    ];
    let row = row_of_span(&of, span(3, &old));
    assert_eq!(
        (row.pair().as_str(), row.get("operation")),
        ("emojivoto/web -> emojivoto/emoji-svc", "GET /api/list/{}")
    );
    assert_eq!((row.get("outcome"), row.get("authz")), ("client_error", "denied"));
    let new = [
        ("http.request.method", "GET"),
        ("url.path", "/api/list"),
        ("server.address", "emoji-svc.emojivoto.svc.cluster.local"),
        ("http.response.status_code", "200"),
    ];
    let row = row_of_span(&of, span(3, &new));
    assert_eq!(
        (row.pair().as_str(), row.get("operation"), row.get("outcome")),
        ("emojivoto/web -> emojivoto/emoji-svc", "GET /api/list", "ok")
    );
}

#[test]
fn consuls_access_log_is_read_from_json_with_its_names_of_services() {
    let json = r#"{"authority":"api.default.dc1.internal.0f3c.consul","bytes_received":0,"bytes_sent":31,"connection_termination_details":null,"downstream_local_address":"127.0.0.1:9091","downstream_remote_address":"127.0.0.1:41234","duration":4,"method":"GET","path":"/status","protocol":"HTTP/1.1","requested_server_name":null,"response_code":200,"response_code_details":"via_upstream","response_flags":"-","route_name":null,"start_time":"2026-11-22T01:24:59.123Z","upstream_cluster":"api.default.dc1.internal.0f3c.consul","upstream_host":"10.244.0.12:20000","upstream_local_address":"10.244.0.9:51234","upstream_service_time":"3","upstream_transport_failure_reason":null,"user_agent":"curl/8","x_forwarded_for":null}"#;
    let mut record = log(&[]);
    record.body = text(json);
    let of = [("service.name", "web"), ("k8s.namespace.name", "default")];
    let row = row_of_log(&of, record);
    assert_eq!((row.get("signal"), row.pair().as_str()), ("log_client", "default/web -> default/api"));
    assert_eq!((row.get("status"), row.get("bytes_out"), row.get("duration_ns")), ("200", "31", "4000000"));
    assert_eq!((row.attribute("user_agent"), row.attribute("body")), (Some("curl/8"), None));

    let denied = with(
        &[
            ("upstream_cluster", "local_app"),
            ("downstream_peer_uri_san", "spiffe://0f3c.consul/ns/default/dc/dc1/svc/web"),
            ("method", "GET"),
            ("path", "/status"),
        ],
        &[("response_code", "403"), ("response_code_details", "rbac_access_denied_matched_policy[none]")],
    );
    let row = row_of_log(&[("service.name", "api"), ("k8s.namespace.name", "default")], log(&denied));
    // The inventory's trust domain is another: what Consul's identity claims is not taken for one of ours.
    assert_eq!((row.pair().as_str(), row.get("authz")), ("default.0f3c.consul/web -> default/api", "denied"));
}

#[test]
fn an_access_log_in_a_body_of_pairs_is_read_like_one_in_attributes() {
    let pairs = [
        ("upstream_cluster", "inbound|9080||"),
        ("response_code", "503"),
        ("response_flags", "UF"),
        ("method", "GET"),
        ("path", "/a"),
        ("note", "say \"hi\""),
    ];
    let values = pairs.iter().map(|(key, value)| opentelemetry_proto::tonic::common::v1::KeyValue {
        key: (*key).to_owned(),
        value: text(value),
        key_strindex: 0,
    });
    let list = opentelemetry_proto::tonic::common::v1::KeyValueList { values: values.collect() };
    let mut record = log(&[]);
    record.body = Some(AnyValue { value: Some(Value::KvlistValue(list)) });
    let row = row_of_log(FRONTEND, record);
    assert_eq!(
        (row.get("signal"), row.get("destination"), row.get("outcome"), row.get("flags")),
        ("log_server", "shop/frontend", "refused", "UF")
    );
    assert_eq!((row.attribute("note"), row.attribute("body")), (Some("say \"hi\""), None));
}

#[test]
fn a_log_that_is_no_access_log_is_kept_and_is_not_a_call() {
    let mut record = log(&[("user.id", "u1"), ("code.lineno", "7")]);
    (record.body, record.severity_text, record.severity_number) =
        (text("payment 17 failed"), "ERROR".to_owned(), 17);
    let row = row_of_log(FRONTEND, record.clone());
    assert_eq!(
        (row.get("signal"), row.get("destination"), row.get("outcome")),
        ("log_server", "", "unknown")
    );
    assert_eq!(row.get("source"), "shop/frontend");
    assert_eq!(row.attribute("body"), Some("payment 17 failed"));
    assert_eq!(
        (row.attribute("severity_text"), row.attribute("severity_number")),
        (Some("ERROR"), Some("17"))
    );
    record.body = text(r#"{"level":"error","status":500}"#);
    assert_eq!(row_of_log(FRONTEND, record).attribute("body"), Some(r#"{"level":"error","status":500}"#));
}

#[test]
fn spans_inside_a_service_are_kept_with_their_events_and_are_not_calls() {
    let mut record = span(1, &[("http.route", "/x")]);
    let error = opentelemetry_proto::tonic::common::v1::KeyValue {
        key: "exception.message".into(),
        value: text("no card 4111"),
        key_strindex: 0,
    };
    record.events = vec![span::Event {
        name: "exception".into(),
        time_unix_nano: 5,
        attributes: vec![error],
        ..span::Event::default()
    }];
    record.links = vec![span::Link { trace_id: vec![0xab; 16], ..span::Link::default() }];
    record.name = "charge".into();
    let row = row_of_span(FRONTEND, record);
    assert_eq!((row.get("signal"), row.get("destination"), row.get("cluster")), ("span_server", "", "lon-1"));
    assert_eq!(row.attribute("event.0.exception.message"), Some("no card 4111"));
    assert_eq!(row.attribute("event.0.name"), Some("exception"));
    assert_eq!(row.attribute("link.0.trace_id"), Some("abababababababababababababababab"));
    assert_eq!((row.attribute("name"), row.attribute("http.route")), (Some("charge"), Some("/x")));
    assert_eq!(
        (row.attribute("resource.service.name"), row.attribute("resource.k8s.cluster.name")),
        (Some("frontend"), None)
    );
}

#[test]
fn a_gateways_span_tells_of_the_call_onwards() {
    let row = row_of_span(
        FRONTEND,
        span(
            2,
            &[("upstream_cluster", "outbound|80||cart.shop.svc.cluster.local"), ("http.status_code", "200")],
        ),
    );
    assert_eq!((row.get("signal"), row.pair().as_str()), ("span_client", "shop/frontend -> shop/cart"));
}

#[test]
fn what_a_policy_on_trial_would_have_denied_is_said_with_its_name() {
    let trial = [
        ("upstream_cluster", "inbound|9080||"),
        ("http.status_code", "200"),
        ("istio.authorization.dry_run.deny_policy.name", "ns[foo]-policy[deny-path-headers]-rule[0]"),
        ("istio.authorization.dry_run.deny_policy.result", "denied"),
    ];
    let row = row_of_span(FRONTEND, span(2, &trial));
    assert_eq!(
        (row.get("authz"), row.get("outcome")),
        ("dry_run_denied:ns[foo]-policy[deny-path-headers]-rule[0]", "ok")
    );
}

#[test]
fn a_plain_connection_is_said_to_be_one_by_the_callee_only() {
    let inbound =
        [("upstream_cluster", "inbound|9080||"), ("downstream_tls_version", "-"), ("response_code", "200")];
    assert_eq!(row_of_log(FRONTEND, log(&inbound)).get("tls"), "plaintext");
    let outbound = [
        ("upstream_cluster", "outbound|80||cart.shop.svc"),
        ("downstream_tls_version", "-"),
        ("response_code", "200"),
    ];
    assert_eq!(row_of_log(FRONTEND, log(&outbound)).get("tls"), "");
    assert_eq!(
        row_of_log(FRONTEND, log(&with(&outbound, &[("upstream_tls_version", "TLSv1.2")]))).get("tls"),
        "TLSv1.2"
    );
}

#[test]
fn rpcs_are_operations_by_their_method_and_judged_by_their_own_status() {
    let envoy = [
        ("upstream_cluster", "outbound|80||cart.shop.svc"),
        ("http.method", "POST"),
        ("http.url", "http://cart/shop.v1.Cart/Get"),
        ("http.status_code", "200"),
        ("grpc.status_code", "14"),
    ];
    let row = row_of_span(FRONTEND, span(3, &envoy));
    assert_eq!(
        (row.get("operation"), row.get("outcome"), row.get("path")),
        ("shop.v1.Cart/Get", "server_error", "/shop.v1.Cart/Get")
    );
    let sdk = [
        ("rpc.system", "grpc"),
        ("rpc.service", "shop.v1.Cart"),
        ("rpc.method", "Get"),
        ("rpc.grpc.status_code", "16"),
        ("server.address", "cart"),
    ];
    let row = row_of_span(FRONTEND, span(3, &sdk));
    assert_eq!(
        (row.get("operation"), row.get("outcome"), row.get("authn")),
        ("shop.v1.Cart/Get", "client_error", "denied")
    );
}

#[test]
fn an_attribute_that_a_column_holds_whole_is_not_kept_twice() {
    let attributes = [
        ("upstream_cluster", "outbound|80||cart.shop.svc"),
        ("upstream_cluster.name", "outbound|80||cart.shop.svc"),
        ("http.method", "GET"),
        ("http.status_code", "200"),
        ("response_flags", "-"),
        ("request_size", "5"),
        ("response_size", "x"),
        ("user_agent", "-"),
        ("zone", "a"),
    ];
    let row = row_of_span(FRONTEND, Span { name: String::new(), ..span(3, &attributes) });
    let own: Vec<&str> =
        row.attributes.iter().map(|(k, _)| k.as_str()).filter(|k| !k.starts_with("resource.")).collect();
    assert_eq!(
        own,
        ["upstream_cluster", "response_size", "zone"],
        "what is no number cannot be in a column of numbers"
    );
    assert_eq!((row.get("bytes_in"), row.get("bytes_out"), row.get("method")), ("5", "", "GET"));
}

#[test]
fn ids_come_from_the_record_or_else_from_its_traceparent() {
    let header = ("traceparent", "00-5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174-01");
    let attributes = [("upstream_cluster", "inbound|1||"), header];
    let row = row_of_log(FRONTEND, log(&attributes));
    assert_eq!(
        (row.get("trace_id"), row.get("span_id")),
        ("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174")
    );
    assert_eq!(row.attribute("traceparent"), None);
    let mut record = log(&attributes);
    (record.trace_id, record.span_id) = (vec![1; 16], vec![2; 8]);
    let row = row_of_log(FRONTEND, record);
    assert_eq!((row.get("trace_id"), row.attribute("traceparent")), (&*"01".repeat(16), Some(header.1)));
}
