//! Times decode and build against prost decode alone, in one run:
//! `cargo run --release -p lapwing-otlp --example decode_speed`; with the arguments
//! `walk made-up 100`, ours alone on one set, so many times, for a profiler.
//!
//! Two sets of requests of about 100 spans: recorded ones (`datasets/mesh`, joined), and made-up ones of 20
//! string attributes and about 914 bytes a span, 20 spans a resource.

#![expect(clippy::print_stdout, reason = "its output is for a person")]

use std::hint::black_box;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use lapwing_otlp::{DecodeSettings, Decoder, Encoding, Inventory, Payload, latest_event_time};
use lapwing_telemetry::{Builders, EventTime};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

fn main() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/mesh");
    let inventory = std::fs::read_to_string(format!("{folder}/inventory.yaml"))
        .expect("the dataset is in the repository");
    let inventory = Arc::new(Inventory::parse(&inventory).expect("the dataset's inventory is valid"));
    let spans = recorded(&format!("{folder}/raw/traces.otlp.pb.zst"));
    let logs = recorded(&format!("{folder}/raw/logs.otlp.pb.zst"));
    compare("recorded spans", Payload::Traces, &spans, &inventory);
    compare("made-up spans", Payload::Traces, &(0..64).map(made_up).collect::<Vec<_>>(), &inventory);
    compare("recorded logs", Payload::Logs, &logs, &inventory);
}

fn compare(name: &str, payload: Payload, requests: &[Vec<u8>], inventory: &Arc<Inventory>) {
    if std::env::args().nth(2).is_some_and(|set| !name.contains(&set)) {
        return;
    }
    let arrival =
        requests.iter().filter_map(|r| latest_event_time(payload, r)).max().unwrap_or(EventTime::MIN);
    let mut decoder = Decoder::new(DecodeSettings::default(), inventory.clone());
    let mut rows = 0;
    let (mut ours, mut theirs, mut decode_only) = (Duration::MAX, Duration::MAX, Duration::MAX);
    let rounds = std::env::args().nth(3).and_then(|n| n.parse().ok()).unwrap_or(9);
    for _ in 0..rounds {
        let prost = timed(|| match payload {
            _ if std::env::args().any(|argument| argument == "walk") => {}
            Payload::Traces => {
                requests
                    .iter()
                    .for_each(|r| drop(black_box(ExportTraceServiceRequest::decode(r.as_slice()))));
            }
            Payload::Logs => {
                requests.iter().for_each(|r| drop(black_box(ExportLogsServiceRequest::decode(r.as_slice()))));
            }
        });
        theirs = theirs.min(prost);
        rows = 0;
        let mut built = Duration::ZERO;
        let walked = timed(|| {
            let mut builders = Builders::new(1);
            for request in requests {
                let decoded = decoder.decode(payload, Encoding::Protobuf, request, arrival, &mut builders);
                rows += decoded.map_or(0, |d| d.accepted);
                if builders.rows() >= 2_048 {
                    built += timed(|| drop(black_box(builders.finish())));
                }
            }
            built += timed(|| drop(black_box(builders.finish())));
        });
        ours = ours.min(walked);
        decode_only = decode_only.min(walked.saturating_sub(built));
    }
    let bytes: usize = requests.iter().map(Vec::len).sum();
    let each = |time: Duration| time.as_nanos() as f64 / rows as f64;
    println!(
        "{name}: {rows} rows of {} bytes; prost {:.0} ns, decode and build {:.0} ns (finish {:.0} ns): {:.2} times faster",
        bytes as u64 / rows.max(1),
        each(theirs),
        each(ours),
        each(ours) - each(decode_only),
        each(theirs) / each(ours),
    );
}

#[expect(clippy::disallowed_methods, reason = "measuring is what this program is for")]
fn timed(work: impl FnOnce()) -> Duration {
    let begin = std::time::Instant::now();
    work();
    begin.elapsed()
}

/// The recording's requests, joined to about 100 kB each: joined protobuf bytes are the joined lists.
fn recorded(path: &str) -> Vec<Vec<u8>> {
    let mut stream = zstd::Decoder::new(std::fs::File::open(path).expect("the dataset is in the repository"))
        .expect("it is zstd");
    stream.window_log_max(27).expect("a window log of 27 is allowed");
    let (mut requests, mut length) = (vec![Vec::new()], [0; 4]);
    while stream.read_exact(&mut length).is_ok() {
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut body).expect("the recording is whole");
        match requests.last_mut() {
            Some(last) if last.len() < 100_000 => last.extend(body),
            _ => requests.push(body),
        }
    }
    requests
}

fn made_up(seed: u64) -> Vec<u8> {
    let attribute = |(key, text): (&str, String)| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(text)) }),
        key_strindex: 0,
    };
    let resource_spans = (0..5).map(|r| {
        let service = format!("service-{}", (seed + r) % 11);
        let span = |s: u64| {
            let n = seed * 1_000 + r * 100 + s;
            let id = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let attributes = [
                (
                    "node_id",
                    format!(
                        "sidecar~10.{}.{}.7~{service}-5d8f9c7b6-n4v7t.shop~shop.svc.cluster.local",
                        r,
                        seed % 9
                    ),
                ),
                ("zone", "eu-west-2a".to_owned()),
                ("guid:x-request-id", format!("{id:016x}-{n:04}-9604-b10b-0f466345242b")),
                ("http.url", format!("http://www.shop.example/products/{}?page={}", n % 500, n % 7)),
                ("http.method", if n.is_multiple_of(9) { "POST" } else { "GET" }.to_owned()),
                ("downstream_cluster", "-".to_owned()),
                ("user_agent", format!("CitizenApp/4.{}.1 (Android 15; build 88213)", n % 5)),
                ("http.protocol", "HTTP/1.1".to_owned()),
                ("peer.address", format!("10.1.{}.{}", n % 3, n % 250)),
                ("request_size", (n % 90).to_string()),
                ("response_size", (n * 37 % 20_000).to_string()),
                ("component", "proxy".to_owned()),
                ("upstream_cluster", format!("outbound|8080||service-{}.shop.svc.cluster.local", n % 13)),
                (
                    "upstream_cluster.name",
                    format!("outbound|8080||service-{}.shop.svc.cluster.local", n % 13),
                ),
                ("http.status_code", if n.is_multiple_of(50) { "503" } else { "200" }.to_owned()),
                ("response_flags", "-".to_owned()),
                ("istio.mesh_id", "mesh-dev-uk1".to_owned()),
                ("istio.canonical_service", service.clone()),
                ("istio.canonical_revision", "v1".to_owned()),
                ("istio.namespace", "shop".to_owned()),
            ];
            Span {
                trace_id: [id.to_be_bytes(), n.to_be_bytes()].concat(),
                span_id: id.to_le_bytes().to_vec(),
                name: format!("service-{}.shop.svc.cluster.local:8080/*", n % 13),
                kind: 3,
                start_time_unix_nano: 1_795_310_607_000_000_000 + n * 1_000_000,
                end_time_unix_nano: 1_795_310_607_000_000_000 + n * 1_000_000 + n % 97 * 100_000,
                attributes: attributes.into_iter().map(attribute).collect(),
                ..Span::default()
            }
        };
        let name = attribute(("service.name", format!("{service}.shop")));
        ResourceSpans {
            resource: Some(Resource { attributes: vec![name], ..Resource::default() }),
            scope_spans: vec![ScopeSpans { spans: (0..20).map(span).collect(), ..ScopeSpans::default() }],
            schema_url: String::new(),
        }
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }.encode_to_vec()
}
