//! The recorded mesh: what decode makes of it against what the recorder counted.

use std::collections::BTreeMap;
use std::io::Read;

use lapwing_otlp::{Decoder, Encoding, Payload, latest_event_time, sniff};

use crate::help::{Row, decode, decoder, inventory};

const RAW: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/mesh/raw");

/// Requests of a recorded stream, each behind its big-endian length.
fn requests(name: &str) -> Vec<Vec<u8>> {
    let file = std::fs::File::open(format!("{RAW}/{name}.otlp.pb.zst")).unwrap();
    let mut stream = zstd::Decoder::new(file).unwrap();
    stream.window_log_max(27).unwrap();
    let (mut requests, mut length) = (Vec::new(), [0; 4]);
    while stream.read_exact(&mut length).is_ok() {
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut body).unwrap();
        requests.push(body);
    }
    requests
}

fn decode_all(decoder: &mut Decoder, payload: Payload, name: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for body in requests(name) {
        assert_eq!(sniff(&body), Some(payload));
        let arrival = latest_event_time(payload, &body).unwrap();
        let (decoded, more) = decode(decoder, payload, Encoding::Protobuf, &body, arrival).unwrap();
        assert_eq!((decoded.accepted, decoded.rejected), (more.len() as u64, 0));
        rows.extend(more);
    }
    rows
}

/// `raw/pairs.txt`: records per derived pair, as the recorder counted the access logs. `src` are the
/// caller's, `dst` the callee's, `listener` the callee's of failed handshakes; `sa:` marks the words of an
/// identity that no inventory knows.
fn counted_by_the_recorder() -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(format!("{RAW}/pairs.txt")).unwrap();
    let lines = text.lines().skip_while(|line| line.starts_with("spans") || line.starts_with("logs"));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [count, side, source, destination] = words[..] else { unreachable!("{line}") };
            (format!("{side} {} -> {destination}", source.trim_start_matches("sa:")), count.parse().unwrap())
        })
        .collect()
}

#[test]
fn the_recorded_access_logs_have_the_pairs_that_the_recorder_counted() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for row in decode_all(&mut decoder(inventory()), Payload::Logs, "logs") {
        let side = match row.get("signal") {
            "log_client" => "src",
            _ if row.get("tls").starts_with("failed") => "listener",
            _ => "dst",
        };
        *counts.entry(format!("{side} {}", row.pair())).or_default() += 1;
    }
    assert_eq!(counts, counted_by_the_recorder());
}

#[test]
fn the_recorded_spans_have_the_pairs_of_the_access_logs() {
    let mut decoder = decoder(inventory());
    let logs = decode_all(&mut decoder, Payload::Logs, "logs");
    let spans = decode_all(&mut decoder, Payload::Traces, "traces");
    let pairs = |rows: &[Row], signal: &str| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let of_signal = rows.iter().filter(|row| row.get("signal") == signal);
        // A handshake that failed has a log but no span.
        of_signal
            .filter(|row| row.get("status") != "0")
            .for_each(|row| *counts.entry(row.pair()).or_default() += 1);
        counts
    };
    let mut by_log = pairs(&logs, "log_client");
    // In its own span a proxy names itself by its service and not by its certificate, which was another's
    // for a while; and of one request the span is missing.
    let unknown = |to: &str| by_log.get(&format!("default/default -> {to}")).copied().unwrap_or(0);
    let moved = [("user/accounts", unknown("user/accounts")), ("user/sessions", unknown("user/sessions"))];
    for (to, count) in moved {
        by_log.remove(&format!("default/default -> {to}"));
        *by_log.get_mut(&format!("shop/frontend -> {to}")).unwrap() += count;
    }
    *by_log.get_mut("ops/reporting -> data/orders-db-proxy").unwrap() -= 1;
    assert_eq!(pairs(&spans, "span_client"), by_log);
    let stats = decoder.stats();
    assert_eq!((stats.server_spans_joined, stats.server_spans_unjoined), (11_186, 0));
    assert_eq!((stats.without_source, stats.without_destination, stats.not_calls), (0, 0, 0));
}

#[test]
fn no_recorded_operation_holds_what_was_planted() {
    let rows = decode_all(&mut decoder(inventory()), Payload::Logs, "logs");
    let operations: std::collections::BTreeSet<&str> = rows.iter().map(|row| row.get("operation")).collect();
    assert!(operations.len() < 50, "{operations:?}");
    assert!(
        operations
            .iter()
            .all(|o| !o.contains(['@', '%', '?']) && !o.bytes().any(|b| b.is_ascii_digit() && b != b'1')),
        "{operations:?}"
    );
}

#[test]
fn json_samples_read_as_the_protobuf_they_came_from() {
    for (payload, name) in [(Payload::Logs, "logs"), (Payload::Traces, "traces")] {
        let text = std::fs::read_to_string(format!("{RAW}/../samples/raw-{name}.otlp.jsonl")).unwrap();
        let (mut from_json, mut from_protobuf) = (decoder(inventory()), decoder(inventory()));
        for (line, body) in text.lines().zip(requests(name)) {
            let arrival = latest_event_time(payload, &body).unwrap();
            let json = decode(&mut from_json, payload, Encoding::Json, line.as_bytes(), arrival).unwrap();
            let protobuf = decode(&mut from_protobuf, payload, Encoding::Protobuf, &body, arrival).unwrap();
            assert_eq!(json, protobuf);
        }
    }
}
