//! Bad input: what is refused whole, what is rejected alone, what is cut.

use std::sync::Arc;
use std::time::Duration;

use lapwing_otlp::{DecodeSettings, Decoder, Encoding, Limits, Payload};
use lapwing_telemetry::EventTime;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};

use crate::help::{NOW, decode, decoder, inventory, log, logs, span, traces};

fn limited(limits: Limits) -> Decoder {
    Decoder::new(DecodeSettings { limits, ..DecodeSettings::default() }, Arc::default())
}

fn refusal(decoder: &mut Decoder, payload: Payload, encoding: Encoding, body: &[u8]) -> String {
    decode(decoder, payload, encoding, body, NOW).unwrap_err().to_string()
}

#[test]
fn an_empty_request_is_right_and_holds_nothing() {
    for (encoding, body) in
        [(Encoding::Protobuf, &b""[..]), (Encoding::Json, b"{}"), (Encoding::Json, b"{\"resourceSpans\":[]}")]
    {
        for payload in [Payload::Traces, Payload::Logs] {
            let (decoded, rows) = decode(&mut decoder(inventory()), payload, encoding, body, NOW).unwrap();
            assert_eq!(
                (decoded.accepted, decoded.rejected, decoded.reason.as_str(), rows.len()),
                (0, 0, "", 0)
            );
        }
    }
    assert!(decode(&mut decoder(inventory()), Payload::Traces, Encoding::Json, b"", NOW).is_err());
}

#[test]
fn a_record_with_an_absurd_time_is_rejected_alone_with_the_reason() {
    let at = |start: u64, end: u64| {
        let mut record = span(3, &[("upstream_cluster", "outbound|1||a.b.svc")]);
        (record.start_time_unix_nano, record.end_time_unix_nano) = (start, end);
        record
    };
    let now = NOW.unix_nanos();
    let hour = 3_600_000_000_000;
    let spans = vec![
        at(now - 1_000, now),
        at(0, now),
        at(now + 2 * hour, now + 2 * hour),
        at(u64::MAX, u64::MAX),
        at(now, u64::MAX),
        at(1_000, 2_000),
        at(now - 25 * hour, now - 25 * hour),
        at(now - 25 * hour, now - hour),
        at(now, now - 1_000),
    ];
    let (decoded, rows) =
        decode(&mut decoder(inventory()), Payload::Traces, Encoding::Protobuf, &traces(&[], spans), NOW)
            .unwrap();
    assert_eq!((decoded.accepted, decoded.rejected, rows.len()), (3, 6, 3));
    assert_eq!(
        decoded.reason,
        "1 without a time, 3 more than 3600 s ahead of arrival, 2 more than 86400 s old"
    );
    assert_eq!(rows[1].get("duration_ns"), "86400000000000", "a call that took a day ended now");
    assert_eq!(
        rows[2].get("duration_ns"),
        "",
        "a call that ended before it began took nobody knows how long"
    );
    let mut endless = log(&[("upstream_cluster", "inbound|1||"), ("duration", "9223372036854775807")]);
    let accepted = |record| {
        let body = logs(&[], vec![record]);
        decode(&mut decoder(inventory()), Payload::Logs, Encoding::Protobuf, &body, NOW).unwrap().0.accepted
    };
    assert_eq!(accepted(endless.clone()), 0);
    endless.attributes.remove(1);
    (endless.time_unix_nano, endless.observed_time_unix_nano) = (0, now);
    assert_eq!(accepted(endless), 1, "a log record without a time of its own has that of its collection");
}

#[test]
fn the_window_of_time_is_a_setting() {
    let settings = DecodeSettings {
        max_ahead: Duration::ZERO,
        max_age: Duration::from_secs(1),
        ..DecodeSettings::default()
    };
    let mut decoder = Decoder::new(settings, Arc::default());
    let body = traces(&[], vec![span(3, &[])]);
    let mut accepted = |arrival| {
        decode(&mut decoder, Payload::Traces, Encoding::Protobuf, &body, arrival).unwrap().0.accepted
    };
    let ended = NOW.minus(Duration::from_millis(500));
    assert_eq!(accepted(ended), 1);
    assert_eq!(accepted(ended.plus(Duration::from_secs(1))), 1);
    assert_eq!(accepted(ended.plus(Duration::from_micros(1_000_001))), 0);
    assert_eq!(accepted(EventTime(ended.0 - 1)), 0);
}

#[test]
fn long_values_are_cut_at_a_character_and_surplus_attributes_dropped_and_both_are_counted() {
    let mut decoder =
        limited(Limits { max_attributes_per_record: 3, max_value_bytes: 5, ..Limits::default() });
    let record =
        span(1, &[("abcdef", "ééé"), ("b", "12345"), ("c", "123456"), ("d", "x"), ("e", "y"), ("f", "z")]);
    let body = traces(&[("r", "abcdefgh")], vec![record]);
    let (_, rows) = decode(&mut decoder, Payload::Traces, Encoding::Protobuf, &body, NOW).unwrap();
    let pairs: Vec<(&str, &str)> = rows[0].attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(pairs, [("resource.r", "abcde"), ("abcde", "éé"), ("b", "12345"), ("c", "12345")]);
    assert_eq!((decoder.stats().values_cut, decoder.stats().attributes_dropped), (4, 3));
}

#[test]
fn nesting_and_records_beyond_the_limit_refuse_the_whole_request() {
    let mut decoder = limited(Limits { max_nesting: 2, max_records: 2, ..Limits::default() });
    let nested = |depth: usize| {
        let array = |inner| AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![inner] })) };
        let value =
            (0..depth).fold(AnyValue { value: Some(Value::BoolValue(true)) }, |inner, _| array(inner));
        let mut record = log(&[]);
        record.attributes = vec![KeyValue { key: "k".into(), value: Some(value), key_strindex: 0 }];
        record
    };
    let (_, rows) =
        decode(&mut decoder, Payload::Logs, Encoding::Protobuf, &logs(&[], vec![nested(2)]), NOW).unwrap();
    assert_eq!(rows[0].attribute("k"), Some("[[true]]"));
    let reason =
        refusal(&mut decoder, Payload::Logs, Encoding::Protobuf, &logs(&[], vec![log(&[]), nested(3)]));
    assert!(reason.starts_with("values nested deeper than the limit at byte "), "{reason}");
    let reason = refusal(
        &mut decoder,
        Payload::Logs,
        Encoding::Protobuf,
        &logs(&[], vec![log(&[]), log(&[]), log(&[])]),
    );
    assert!(reason.starts_with("more spans or log records than the limit at byte "), "{reason}");
    assert_eq!(
        (decoder.stats().requests_malformed, decoder.stats().rows_by_signal.iter().sum::<u64>()),
        (2, 1)
    );
}

#[test]
fn a_refusal_says_what_and_where_and_never_a_value() {
    let secret = "s3cret-s3cret";
    let body = traces(&[], vec![span(3, &[("token", secret), ("k", "v")])]);
    let mut decoder = decoder(inventory());
    for at in 0..body.len() {
        for bad in [&body[..at], &[&body[..at], &[0xff], &body[at + 1..]].concat()] {
            if let Err(refused) = decode(&mut decoder, Payload::Traces, Encoding::Protobuf, bad, NOW) {
                let reason = refused.to_string();
                assert!(!reason.contains("s3cret") && reason.contains(" at byte "), "{reason}");
                let place: usize =
                    reason.split(" at byte ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
                assert!(place <= bad.len(), "{reason}");
            }
        }
    }
    assert!(decoder.stats().requests_malformed > 100);
}

#[test]
fn a_declared_gigabyte_reserves_nothing_and_is_refused() {
    // resource_spans, scope_spans, spans, each claiming more than there is.
    let claim = |field: u8| vec![field << 3 | 2, 0x80, 0x80, 0x80, 0x80, 0x04];
    for depth in 1..4 {
        let body: Vec<u8> = (0..depth).flat_map(|d| claim(if d == 0 { 1 } else { 2 })).collect();
        let reason = refusal(&mut decoder(inventory()), Payload::Traces, Encoding::Protobuf, &body);
        assert_eq!(reason, format!("a length beyond the end of its message at byte 6 of {}", body.len()));
    }
}

#[test]
fn a_name_that_is_not_a_services_is_no_pairs() {
    let attributes = [("upstream_cluster", "outbound|80||jo@example.com"), ("response_code", "200")];
    for name in ["jo@example.com", "a b", "../x", "Zoë", &"x".repeat(300)] {
        let body = logs(&[("service.name", name), ("service.namespace", "shop")], vec![log(&attributes)]);
        let (_, rows) =
            decode(&mut decoder(inventory()), Payload::Logs, Encoding::Protobuf, &body, NOW).unwrap();
        assert_eq!(rows[0].pair(), "? -> ?", "{name}");
    }
    let long = format!("outbound|80||{}.svc", "a.".repeat(2_000));
    let body = logs(&[("k8s.cluster.name", "a b")], vec![log(&[("upstream_cluster", &long)])]);
    let (_, rows) = decode(&mut decoder(inventory()), Payload::Logs, Encoding::Protobuf, &body, NOW).unwrap();
    assert_eq!((rows[0].pair().as_str(), rows[0].get("cluster")), ("? -> ?", "default"));
}
