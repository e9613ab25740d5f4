//! What all HTTP targets have in common, on the simplest of them; and each target's own contract.

use std::time::Duration;

use lapwing_siem::http::{Auth, HttpSettings, HttpSink, OAuth2, Url};
use lapwing_siem::{
    AckSettings, BulkSettings, Format, HecSettings, Secret, SentinelSettings, TlsSettings, WebhookSettings,
    bulk_sink, hec_sink, otlp_sink, sentinel_sink, webhook_sink,
};
use lapwing_telemetry::{Fate, Fates, Finding, FindingSink, PublishError};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::stub::{Received, Reply, Stub};
use crate::{clock, context, numbered, samples};

fn say(status: u16, body: &str) -> Reply {
    Reply::Say(status, body.to_owned())
}

fn distinct(count: u32) -> Vec<Finding> {
    numbered(count).into_iter().map(|f| Finding { id: format!("lw-{}", f.revision), ..f }).collect()
}

/// What became of each of `count` findings.
async fn fates(sink: &mut HttpSink, findings: &[Finding]) -> Fates {
    match sink.publish(findings).await {
        Ok(()) => Fates { each: vec![Fate::Taken; findings.len()], ..Fates::undecided(0) },
        Err(PublishError::OneByOne(fates)) => fates,
        Err(error) => panic!("{error:?}"),
    }
}

fn sentinel(http: HttpSettings) -> HttpSink {
    let settings = SentinelSettings { rule_id: "dcr-1".to_owned(), stream: "Custom-Findings".to_owned() };
    sentinel_sink(http, &settings, context())
}

fn webhook(http: HttpSettings) -> HttpSink {
    let settings = WebhookSettings { format: Format::Ocsf, signing_key: None, template: None };
    webhook_sink(http, settings, context(), clock())
}

// ---- what they share ----------------------------------------------------------------------------

#[tokio::test]
async fn statuses_pause_retry_split_or_set_aside() {
    let check = |status: u16, expect: fn(&Fate) -> bool| async move {
        let stub = Stub::start("", move |_, n| say(if n == 0 { 200 } else { status }, "")).await;
        let mut sink = webhook(stub.settings());
        assert_eq!(fates(&mut sink, &numbered(1)).await.each, [Fate::Taken]);
        let got = fates(&mut sink, &numbered(1)).await;
        assert!(expect(&got.each[0]), "{status}: {got:?}");
        assert!(
            got.each[0] == Fate::Taken || matches!(got.each[0], Fate::Rejected(_)) || !got.reason.is_empty()
        );
    };
    for status in [200, 202, 204] {
        check(status, |fate| *fate == Fate::Taken).await;
    }
    for status in [301, 401, 403, 404, 405, 407, 415] {
        check(status, |fate| *fate == Fate::Refused).await;
    }
    for status in [408, 425, 429, 500, 502, 503, 504] {
        check(status, |fate| *fate == Fate::Busy).await;
    }
    for status in [400, 413, 422] {
        check(status, |fate| matches!(fate, Fate::Rejected(_))).await;
    }
}

#[tokio::test]
async fn a_target_that_takes_nothing_is_at_fault_and_not_the_findings() {
    let nothing = Stub::start("", |_, _| say(400, "")).await;
    let got = fates(&mut webhook(nothing.settings()), &distinct(3)).await;
    assert_eq!(got.each, vec![Fate::Refused; 3]);
    assert!(got.reason.contains("takes no finding at all"), "{}", got.reason);

    // One that took something may reject some, but not one after the other for ever.
    let no_more = Stub::start("", |_, n| say(if n == 0 { 200 } else { 400 }, "")).await;
    let mut sink = webhook(no_more.settings());
    fates(&mut sink, &distinct(1)).await;
    let rejected = |fates: Fates| fates.each.iter().filter(|fate| matches!(fate, Fate::Rejected(_))).count();
    assert_eq!(rejected(fates(&mut sink, &distinct(16)).await), 16);
    assert_eq!(fates(&mut sink, &distinct(1)).await.each, [Fate::Refused]);
}

#[tokio::test]
async fn a_target_says_how_long_to_wait() {
    let stub = Stub::start("", |_, _| Reply::With(429, "retry-after", "17".to_owned())).await;
    let got = fates(&mut webhook(stub.settings()), &numbered(2)).await;
    assert_eq!(got.retry_after, Some(Duration::from_secs(17)));
    assert_eq!(got.each, [Fate::Busy, Fate::Busy], "nothing behind it is sent");
}

#[tokio::test]
async fn a_lost_answer_is_busy_and_the_next_attempt_has_the_same_id() {
    let mut stub = Stub::start("", |_, n| if n == 0 { Reply::Cut } else { say(200, "") }).await;
    let mut sink = webhook(stub.settings());
    let lost = fates(&mut sink, &numbered(1)).await;
    assert_eq!(lost.each, [Fate::Busy]);
    assert_eq!(fates(&mut sink, &numbered(1)).await.each, [Fate::Taken]);
    let seen = stub.all();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].header("webhook-id"), seen[1].header("webhook-id"));
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_opened_anew_at_once() {
    // The third request is cut on the kept connection and sent again on a new one.
    let mut stub = Stub::start("", |_, n| if n == 2 { Reply::Cut } else { say(200, "") }).await;
    let mut sink = webhook(stub.settings());
    assert_eq!(fates(&mut sink, &distinct(4)).await.each, vec![Fate::Taken; 4]);
    assert_eq!(stub.all().len(), 5);
}

#[tokio::test]
async fn a_target_that_is_slow_or_away_is_busy_after_the_time_limit() {
    let stub = Stub::start("", |_, _| Reply::Hang).await;
    let http = HttpSettings { request_timeout: Duration::from_millis(50), ..stub.settings() };
    let got = fates(&mut webhook(http), &numbered(1)).await;
    assert!(got.reason.contains("no answer in 0.05 s"), "{}", got.reason);
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let http = HttpSettings::new("target", Url::parse(&format!("http://{free}/secret-path")).unwrap());
    let got = fates(&mut webhook(http), &numbered(1)).await;
    assert_eq!(got.each, [Fate::Busy]);
    assert!(got.reason.starts_with(&format!("connect to http://{free}: ")), "{}", got.reason);
    assert!(!got.reason.contains("secret-path"));
}

#[tokio::test]
async fn requests_are_split_by_bytes_and_halved_where_the_target_wants_less() {
    let few = |received: &Received, _| {
        let count = serde_json::from_slice::<Vec<Value>>(&received.body).unwrap().len();
        if count > 3 { say(413, "") } else { say(204, "") }
    };
    let mut stub = Stub::start("", few).await;
    let findings = distinct(20);
    let each = serde_json::to_vec(&lapwing_siem::sentinel_row(&findings[0], &context())).unwrap().len();
    let http = HttpSettings { max_request_bytes: each * 10 + 100, ..stub.settings() };
    assert_eq!(fates(&mut sentinel(http), &findings).await.each, vec![Fate::Taken; 20]);
    let mut taken = Vec::new();
    let mut largest = 0;
    for received in stub.all() {
        let rows: Vec<Value> = serde_json::from_slice(&received.body).unwrap();
        largest = largest.max(rows.len());
        if rows.len() <= 3 {
            taken.extend(rows.iter().map(|row| row["FindingId"].as_str().unwrap().to_owned()));
        }
        assert!(received.body.len() <= each * 10 + 100);
    }
    assert!((9..=10).contains(&largest), "{largest}");
    assert_eq!(taken, findings.iter().map(|f| f.id.clone()).collect::<Vec<_>>(), "once and in order");
}

#[tokio::test]
async fn one_bad_finding_is_found_and_set_aside_and_one_too_large_is_never_sent() {
    let no_seven = |received: &Received, _| {
        if received.text().contains("\"lw-7\"") { say(400, "") } else { say(204, "") }
    };
    let stub = Stub::start("", no_seven).await;
    let mut findings = distinct(9);
    findings[2].explanation = "x".repeat(20_000);
    let http = HttpSettings { max_request_bytes: 20_000, ..stub.settings() };
    let got = fates(&mut sentinel(http), &findings).await;
    for (i, fate) in got.each.iter().enumerate() {
        match (i, fate) {
            (2, Fate::Rejected(reason)) => assert!(reason.contains("at most 20000"), "{reason}"),
            (6, Fate::Rejected(reason)) => assert!(reason.contains("status 400"), "{reason}"),
            (_, fate) => assert_eq!(*fate, Fate::Taken, "{i}"),
        }
    }
}

#[tokio::test]
async fn a_renewed_secret_counts_at_the_next_attempt_and_is_never_shown() {
    let knows = |received: &Received, _| {
        if received.header("authorization") == Some("Bearer right") { say(200, "") } else { say(401, "") }
    };
    let stub = Stub::start("", knows).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "hunter2\n").unwrap();
    let auth = Auth::Scheme("Bearer", Secret::File(file.clone()));
    let mut sink = webhook(HttpSettings { auth, ..stub.settings() });
    let got = fates(&mut sink, &numbered(1)).await;
    assert_eq!(got.each, [Fate::Refused]);
    assert!(
        !got.reason.contains("hunter2") && got.reason.contains("check the credentials"),
        "{}",
        got.reason
    );
    std::fs::write(&file, "right").unwrap();
    assert_eq!(fates(&mut sink, &numbered(1)).await.each, [Fate::Taken]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(fates(&mut sink, &numbered(1)).await.each, [Fate::Refused]);
}

#[tokio::test]
async fn tls_checks_both_sides_and_a_wrong_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pki = crate::pki::Pki::make(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = pki.acceptor();
    let accept = move |stream| {
        let acceptor = acceptor.clone();
        async move { acceptor.accept(stream).await.ok() }
    };
    let url = Url::parse(&format!("https://localhost:{port}")).unwrap();
    let stub = Stub::serve(url, listener, accept, |_, _| say(200, ""));
    let with = |tls: TlsSettings| webhook(HttpSettings { tls, ..stub.settings() });
    assert_eq!(fates(&mut with(pki.client()), &numbered(1)).await.each, [Fate::Taken]);
    let nameless = TlsSettings { cert_file: None, key_file: None, ..pki.client() };
    let stranger = TlsSettings { server_name: Some("other.example".to_owned()), ..pki.client() };
    let untrusting = TlsSettings { ca_file: None, ..pki.client() };
    for (what, tls) in
        [("no certificate", nameless), ("wrong name", stranger), ("unknown authority", untrusting)]
    {
        let got = fates(&mut with(tls), &numbered(1)).await;
        assert_eq!(got.each, [Fate::Refused], "{what}: {}", got.reason);
        assert!(got.reason.contains("TLS"), "{what}: {}", got.reason);
    }
}

#[tokio::test]
async fn a_token_is_fetched_once_kept_and_fetched_anew_when_it_is_refused() {
    let mut issuer = Stub::start("/token", |_, n| {
        say(200, &json!({ "access_token": format!("t{n}"), "expires_in": 3600 }).to_string())
    })
    .await;
    let accepts = |received: &Received, n| {
        let token = received.header("authorization").unwrap();
        // The first token is withdrawn after two requests.
        if token == "Bearer t1" || (token == "Bearer t0" && n < 2) { say(204, "") } else { say(401, "") }
    };
    let mut stub = Stub::start("", accepts).await;
    let auth = Auth::OAuth2(OAuth2 {
        token_url: issuer.url.clone(),
        client_id: "me&you".to_owned(),
        client_secret: Secret::Text("s3cret/+".to_owned()),
        scope: "https://monitor.azure.com/.default".to_owned(),
        tls: TlsSettings::default(),
    });
    let mut sink = sentinel(HttpSettings { auth, ..stub.settings() });
    for _ in 0..3 {
        assert_eq!(fates(&mut sink, &numbered(1)).await.each, [Fate::Taken]);
    }
    let asked = issuer.all();
    assert_eq!(asked.len(), 2);
    assert_eq!(
        asked[0].text(),
        "grant_type=client_credentials&client_id=me%26you&client_secret=s3cret%2F%2B\
         &scope=https%3A%2F%2Fmonitor.azure.com%2F.default"
    );
    assert_eq!(
        stub.all()[0].path,
        "/dataCollectionRules/dcr-1/streams/Custom-Findings?api-version=2023-01-01"
    );
}

// ---- Elasticsearch and OpenSearch ---------------------------------------------------------------

fn bulk(stub: &Stub) -> HttpSink {
    let settings = BulkSettings { index: "logs-lapwing.finding-default".to_owned(), pipeline: None };
    bulk_sink(stub.settings(), settings, context())
}

fn items(statuses: &[u16]) -> String {
    let item = |status: &u16| match status {
        201 => json!({ "create": { "status": status } }),
        _ => json!({ "create": { "status": status, "error": { "type": "some_exception" } } }),
    };
    let items: Vec<Value> = statuses.iter().map(item).collect();
    json!({ "errors": statuses.iter().any(|s| *s != 201), "items": items }).to_string()
}

#[tokio::test]
async fn bulk_documents_are_created_under_the_revisions_own_id() {
    let mut stub = Stub::start("/es", |_, _| say(200, &items(&[201, 201]))).await;
    assert!(bulk(&stub).answers_one_by_one());
    assert_eq!(fates(&mut bulk(&stub), &distinct(2)).await.each, [Fate::Taken, Fate::Taken]);
    let received = stub.all().swap_remove(0);
    assert!(received.path.starts_with("/es/_bulk?filter_path=errors,"), "{}", received.path);
    assert_eq!(received.header("content-type"), Some("application/x-ndjson"));
    assert!(received.text().ends_with('\n'));
    let lines = received.lines();
    assert_eq!(lines.len(), 4);
    let action = json!({ "create": { "_index": "logs-lapwing.finding-default", "_id": "lw-2.2" } });
    assert_eq!(lines[2], action);
    assert_eq!(lines[3]["event"]["id"], "lw-2.2");
}

#[tokio::test]
async fn of_a_bulk_answer_each_status_counts_for_its_document() {
    let stub = Stub::start("", |_, _| say(200, &items(&[201, 409, 429, 400, 503, 403]))).await;
    let got = fates(&mut bulk(&stub), &distinct(6)).await;
    let rejected = Fate::Rejected("status 400 (some_exception)".to_owned());
    assert_eq!(
        got.each,
        [Fate::Taken, Fate::Taken, Fate::Busy, rejected, Fate::Busy, Fate::Refused],
        "{}",
        got.reason
    );
}

#[tokio::test]
async fn a_bulk_answer_that_says_less_than_was_asked_is_no_success() {
    for body in ["", "{}", "<html>", r#"{"errors":false,"items":[]}"#] {
        let stub = Stub::start("", move |_, _| say(200, body)).await;
        let got = fates(&mut bulk(&stub), &distinct(2)).await;
        assert_eq!(got.each, [Fate::Busy, Fate::Busy], "{body}");
    }
}

// ---- Splunk -------------------------------------------------------------------------------------

fn hec(stub: &Stub, ack: bool) -> HttpSink {
    let ack = ack.then(|| AckSettings {
        channel: "11111111-2222-3333-4444-555555555555".to_owned(),
        interval: Duration::from_millis(5),
        timeout: Duration::from_millis(50),
    });
    let settings = HecSettings {
        index: Some("security".to_owned()),
        source: "lapwing".to_owned(),
        sourcetype: None,
        format: Format::Ocsf,
        ack,
    };
    let auth = Auth::Scheme("Splunk", Secret::Text("t0ken".to_owned()));
    hec_sink(HttpSettings { auth, ..stub.settings() }, settings, context())
}

#[tokio::test]
async fn hec_events_follow_each_other_with_time_index_and_fields() {
    let mut stub = Stub::start("", |_, _| say(200, r#"{"text":"Success","code":0}"#)).await;
    assert_eq!(fates(&mut hec(&stub, false), &numbered(2)).await.each, [Fate::Taken, Fate::Taken]);
    let received = stub.all().swap_remove(0);
    assert_eq!(received.path, "/services/collector/event");
    assert_eq!(received.header("authorization"), Some("Splunk t0ken"));
    assert_eq!(received.header("x-splunk-request-channel"), None);
    let events = received.lines();
    assert_eq!(events.len(), 2);
    assert!(
        received.text().starts_with(r#"{"time":1793614500.000,"index":"security","#),
        "{}",
        received.text()
    );
    assert_eq!(events[0]["sourcetype"], "lapwing:ocsf:finding");
    assert_eq!(events[1]["fields"]["finding_event_id"], numbered(2)[1].event_id());
    assert_eq!(events[0]["event"]["class_uid"], 2004);
}

#[tokio::test]
async fn hec_counts_a_finding_when_an_indexer_has_acknowledged_it() {
    let indexer = |received: &Received, n| match received.path.as_str() {
        "/services/collector/event" => say(200, r#"{"text":"Success","code":0,"ackId":7}"#),
        _ => say(200, if n < 3 { r#"{"acks":{"7":false}}"# } else { r#"{"acks":{"7":true}}"# }),
    };
    let mut stub = Stub::start("/services/collector", indexer).await;
    assert_eq!(fates(&mut hec(&stub, true), &numbered(2)).await.each, [Fate::Taken, Fate::Taken]);
    let seen = stub.all();
    assert_eq!(seen.len(), 4);
    assert_eq!(seen[1].path, "/services/collector/ack");
    assert_eq!(seen[1].text(), r#"{"acks":[7]}"#);
    assert!(seen.iter().all(|r| r.header("x-splunk-request-channel").is_some()));
}

#[tokio::test]
async fn hec_events_that_no_indexer_acknowledges_are_sent_again() {
    let never = |received: &Received, _| match received.path.as_str() {
        "/services/collector/event" => say(200, r#"{"text":"Success","code":0,"ackId":7}"#),
        _ => say(200, r#"{"acks":{"7":false}}"#),
    };
    let stub = Stub::start("", never).await;
    let got = fates(&mut hec(&stub, true), &numbered(1)).await;
    assert_eq!(got.each, [Fate::Busy]);
    assert!(got.reason.contains("not acknowledged by an indexer within 0.05 s"), "{}", got.reason);
}

#[tokio::test]
async fn hec_errors_are_told_apart_by_their_code() {
    for (status, body, expect) in [
        (403, r#"{"text":"Token disabled","code":1}"#, Fate::Refused),
        (401, r#"{"text":"Token is required","code":2}"#, Fate::Refused),
        (401, r#"{"text":"Invalid authorization","code":3}"#, Fate::Refused),
        (403, r#"{"text":"Invalid token","code":4}"#, Fate::Refused),
        (400, r#"{"text":"Incorrect index","code":7,"invalid-event-number":0}"#, Fate::Refused),
        (400, r#"{"text":"ACK is disabled","code":14}"#, Fate::Refused),
        (500, r#"{"text":"Internal server error","code":8}"#, Fate::Busy),
        (503, r#"{"text":"Server is busy","code":9}"#, Fate::Busy),
        (503, "upstream away", Fate::Busy),
    ] {
        let stub = Stub::start("", move |_, _| say(status, body)).await;
        assert_eq!(
            fates(&mut hec(&stub, false), &numbered(2)).await.each,
            [expect.clone(), expect],
            "{body}"
        );
    }
    let stub = Stub::start("", |_, _| say(200, r#"{"text":"Success","code":0}"#)).await;
    let got = fates(&mut hec(&stub, true), &numbered(1)).await;
    assert_eq!(got.each, [Fate::Refused], "acknowledgements are off for the token");
}

#[tokio::test]
async fn the_event_that_hec_names_is_set_aside_and_the_others_are_sent() {
    let names = |received: &Received, _| {
        let events = received.lines();
        match events.iter().position(|event| event["fields"]["finding_id"] == "lw-3") {
            Some(at) => say(400, &json!({ "code": 6, "invalid-event-number": at }).to_string()),
            None => say(200, r#"{"text":"Success","code":0}"#),
        }
    };
    let stub = Stub::start("", names).await;
    let got = fates(&mut hec(&stub, false), &distinct(5)).await;
    let rejected = Fate::Rejected("the collector takes no such event (code 6)".to_owned());
    assert_eq!(got.each, [Fate::Taken, Fate::Taken, rejected, Fate::Taken, Fate::Taken]);
}

// ---- OTLP ---------------------------------------------------------------------------------------

#[tokio::test]
async fn otlp_records_carry_ids_severity_and_the_call() {
    let mut stub = Stub::start("", |_, _| say(200, "")).await;
    let findings = samples();
    let got = fates(&mut otlp_sink(stub.settings(), context()), &findings).await;
    assert_eq!(got.each, vec![Fate::Taken; findings.len()]);
    let received = stub.all().swap_remove(0);
    assert_eq!(received.path, "/v1/logs");
    assert_eq!(received.header("content-type"), Some("application/x-protobuf"));
    let request = ExportLogsServiceRequest::decode(&received.body[..]).unwrap();
    let records: usize = request.resource_logs.iter().map(|r| r.scope_logs[0].log_records.len()).sum();
    assert_eq!(records, findings.len());
    let own =
        request.resource_logs.iter().find(|r| format!("{:?}", r.resource).contains("\"prod-eu1\"")).unwrap();
    let record = &own.scope_logs[0].log_records[0];
    assert_eq!((record.severity_number, record.event_name.as_str()), (13, "lapwing.finding"));
    assert_eq!((record.trace_id.len(), record.span_id.len()), (16, 8));
}

#[tokio::test]
async fn an_otlp_record_that_is_rejected_is_found() {
    // ExportLogsServiceResponse { partial_success: { rejected_log_records: 1 } }, by hand.
    let one = "\x0a\x02\x08\x01";
    let picky = move |received: &Received, _| {
        let request = ExportLogsServiceRequest::decode(&received.body[..]).unwrap();
        let records = &request.resource_logs[0].scope_logs[0].log_records;
        let bad = records.iter().any(|r| r.attributes.iter().any(|a| format!("{a:?}").contains("\"lw-2\"")));
        say(200, if bad { one } else { "" })
    };
    let stub = Stub::start("/v1/logs", picky).await;
    let got = fates(&mut otlp_sink(stub.settings(), context()), &distinct(4)).await;
    let rejected = Fate::Rejected("rejected in partial_success".to_owned());
    assert_eq!(got.each, [Fate::Taken, rejected, Fate::Taken, Fate::Taken]);
}

// ---- webhook ------------------------------------------------------------------------------------

#[tokio::test]
async fn a_webhook_is_signed_and_a_cloud_event() {
    let mut stub = Stub::start("/hook?x=1", |_, _| say(200, "")).await;
    let settings = WebhookSettings {
        format: Format::Native,
        signing_key: Some(Secret::Text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned())),
        template: None,
    };
    let mut sink = webhook_sink(stub.settings(), settings, context(), clock());
    assert_eq!(fates(&mut sink, &numbered(2)).await.each, [Fate::Taken, Fate::Taken]);
    let seen = stub.all();
    assert_eq!(seen.len(), 2, "a request for each finding");
    assert_eq!(seen[0].path, "/hook?x=1");
    assert_eq!(seen[1].header("ce-id"), Some(numbered(2)[1].event_id().as_str()));
    assert_eq!(seen[0].header("webhook-timestamp"), Some("1772410107"));
    assert!(seen[0].header("webhook-signature").unwrap().starts_with("v1,"));
    assert_eq!(serde_json::from_slice::<Finding>(&seen[1].body).unwrap(), numbered(2)[1]);
}

#[tokio::test]
async fn without_its_key_a_webhook_sends_nothing() {
    let mut stub = Stub::start("", |_, _| say(200, "")).await;
    let signing_key = Some(Secret::File("/no/such/key".into()));
    let settings = WebhookSettings { format: Format::Native, signing_key, template: None };
    let got = fates(&mut webhook_sink(stub.settings(), settings, context(), clock()), &numbered(1)).await;
    assert_eq!(got.each, [Fate::Refused]);
    assert!(got.reason.contains("/no/such/key"), "{}", got.reason);
    assert!(stub.all().is_empty());
}
