//! Deterministic trace requests of Istio's sidecars.

use bytes::{Bytes, BytesMut};
use lapwing_telemetry::EventTime;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

/// Different requests of a workload; after them the shapes repeat, with other ids and times.
pub const REQUESTS: u64 = 64;

/// Trace requests of one size: 20 spans a resource, 20 attributes and about 900 bytes a span, 30 pairs of
/// services, personal data in every twentieth span.
///
/// Three spans of five are of callers and two of callees, and a callee's span comes after its caller's. Every
/// fourth URL holds a number that is never sent twice, as do those with personal data: what remembers the
/// values it has seen does not see everything again.
pub struct Workload {
    templates: Vec<Template>,
    spans: usize,
}

impl Workload {
    /// Builds requests of `spans` spans each.
    pub fn new(spans: usize) -> Workload {
        Workload { templates: (0..REQUESTS).map(|seed| Template::new(seed, spans)).collect(), spans }
    }

    /// Spans of each request.
    pub fn spans(&self) -> usize {
        self.spans
    }

    /// The request with this number as sent at `now`: all its calls ended within the second before.
    pub fn request(&self, number: u64, now: EventTime) -> Bytes {
        self.templates[(number % REQUESTS) as usize].stamped(number, now)
    }

    /// The first [`REQUESTS`] requests.
    pub fn requests(&self, now: EventTime) -> Vec<Bytes> {
        (0..REQUESTS).map(|number| self.request(number, now)).collect()
    }
}

/// An encoded request and where in it stands what each send changes.
struct Template {
    bytes: Vec<u8>,
    spots: Vec<Spot>,
}

/// Places of one span, in bytes from the request's start.
struct Spot {
    trace_id: usize,
    span_id: usize,
    parent_span_id: Option<usize>,
    started_at: usize,
    ended_at: usize,
    request_id: usize,
    number: Option<usize>,
    ended_before_now_ns: u64,
    duration_ns: u64,
}

/// Digits of the number in some URLs.
const NUMBER: &str = "00000000";
const SERVICES: [&str; 10] = [
    "frontend",
    "basket",
    "checkout",
    "catalogue",
    "payments",
    "shipping",
    "accounts",
    "search",
    "reviews",
    "stock",
];
/// Of one block of 100 spans: (caller, callee, calls), as distances from the block's first callee. Callers
/// make 20 calls each; the callees 0 and 1 answer 20 each.
const HOPS: [(u64, u64, u64); 9] = [
    (9, 0, 7),
    (9, 1, 10),
    (9, 2, 3), //
    (8, 0, 7),
    (8, 1, 10),
    (8, 9, 3), //
    (7, 0, 6),
    (7, 9, 7),
    (7, 8, 7),
];
const BLOCK_SPANS: usize = 100;

impl Template {
    fn new(seed: u64, spans: usize) -> Template {
        let blocks = spans.div_ceil(BLOCK_SPANS) as u64;
        let mut left = spans;
        let mut resource_spans: Vec<ResourceSpans> = (0..blocks).flat_map(|b| block(seed, b)).collect();
        for resource in &mut resource_spans {
            for scope in &mut resource.scope_spans {
                scope.spans.truncate(left);
                left -= scope.spans.len();
            }
        }
        resource_spans.retain(|r| r.scope_spans.iter().any(|s| !s.spans.is_empty()));
        let request = ExportTraceServiceRequest { resource_spans };
        let bytes = request.encode_to_vec();
        let mut at = 0;
        let all = request.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans);
        let spots = all.map(|span| Spot::find(span, &bytes, &mut at)).collect();
        Template { bytes, spots }
    }

    fn stamped(&self, number: u64, now: EventTime) -> Bytes {
        let mut bytes = BytesMut::from(self.bytes.as_slice());
        let salt = mix(number);
        for (i, spot) in self.spots.iter().enumerate() {
            let ended_at = now.unix_nanos() - spot.ended_before_now_ns;
            bytes[spot.ended_at..spot.ended_at + 8].copy_from_slice(&ended_at.to_le_bytes());
            let started_at = ended_at - spot.duration_ns;
            bytes[spot.started_at..spot.started_at + 8].copy_from_slice(&started_at.to_le_bytes());
            // The same change to every id keeps a callee's span the child of its caller's.
            for id in [Some(spot.trace_id), Some(spot.span_id), spot.parent_span_id].into_iter().flatten() {
                bytes[id..id + 8].iter_mut().zip(salt.to_le_bytes()).for_each(|(byte, salt)| *byte ^= salt);
            }
            let (trace, request_id) = (spot.trace_id, spot.request_id);
            for digit in 0..4 {
                let byte = bytes[trace + digit];
                bytes[request_id + 2 * digit] = b"0123456789abcdef"[usize::from(byte >> 4)];
                bytes[request_id + 2 * digit + 1] = b"0123456789abcdef"[usize::from(byte & 15)];
            }
            if let Some(at) = spot.number {
                let mut rest = number.wrapping_mul(10_007).wrapping_add(i as u64);
                for digit in bytes[at..at + NUMBER.len()].iter_mut().rev() {
                    *digit = b'0' + (rest % 10) as u8;
                    rest /= 10;
                }
            }
        }
        bytes.freeze()
    }
}

impl Spot {
    /// Looks for the span's fields in the order in which they are encoded, from `at` on, and moves `at` past them.
    fn find(span: &Span, bytes: &[u8], at: &mut usize) -> Spot {
        let mut next = |text: &[u8]| {
            let place = bytes[*at..].windows(text.len()).position(|window| window == text);
            let place = *at + place.expect("every field of the span is in its encoding");
            *at = place + text.len();
            place
        };
        let text = |name: &str| span.attributes.iter().find(|a| a.key == name).map_or("", value);
        let (trace_id, span_id) = (next(&span.trace_id), next(&span.span_id));
        let parent_span_id = (!span.parent_span_id.is_empty()).then(|| next(&span.parent_span_id));
        let started_at = next(&span.start_time_unix_nano.to_le_bytes());
        let ended_at = next(&span.end_time_unix_nano.to_le_bytes());
        let request_id = next(text("guid:x-request-id").as_bytes());
        let url = next(text("http.url").as_bytes());
        Spot {
            trace_id,
            span_id,
            parent_span_id,
            started_at,
            ended_at,
            request_id,
            number: text("http.url").find(NUMBER).map(|number| url + number),
            ended_before_now_ns: mix(span.start_time_unix_nano) % 1_000_000_000,
            duration_ns: span.end_time_unix_nano - span.start_time_unix_nano,
        }
    }
}

fn value(attribute: &KeyValue) -> &str {
    match attribute.value.as_ref().and_then(|v| v.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        _ => "",
    }
}

/// Five resources of 20 spans: three callers, two callees.
fn block(seed: u64, block: u64) -> Vec<ResourceSpans> {
    let first = seed + block;
    let hops: Vec<Hop> = HOPS
        .iter()
        .flat_map(|&(caller, callee, calls)| (0..calls).map(move |_| (first + caller, first + callee)))
        .enumerate()
        .map(|(i, (caller, callee))| {
            Hop::new(mix((seed << 40) + (block << 20) + i as u64 + 1), caller, callee)
        })
        .collect();
    let pod = block / SERVICES.len() as u64;
    let callers = [9, 8, 7].map(|d| {
        let made = hops.iter().filter(|h| h.caller == first + d);
        resource(first + d, pod, made.map(|h| h.span(SpanKind::Client, pod)).collect())
    });
    let callees = [0, 1].map(|d| {
        let answered = hops.iter().filter(|h| h.callee == first + d);
        resource(first + d, pod, answered.map(|h| h.span(SpanKind::Server, pod)).collect())
    });
    callers.into_iter().chain(callees).collect()
}

fn resource(service: u64, pod: u64, spans: Vec<Span>) -> ResourceSpans {
    let name = name(service);
    let attributes = vec![
        attribute("service.name", format!("{name}.shop")),
        attribute("service.namespace", "shop".to_owned()),
        attribute("k8s.pod.name", format!("{name}-5d8f9c7b6-n{pod}v7t")),
        attribute("k8s.cluster.name", "uk1".to_owned()),
    ];
    ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        schema_url: String::new(),
    }
}

fn name(service: u64) -> &'static str {
    SERVICES[(service % SERVICES.len() as u64) as usize]
}

/// One call, of which caller and callee tell.
struct Hop {
    id: u64,
    caller: u64,
    callee: u64,
}

impl Hop {
    fn new(id: u64, caller: u64, callee: u64) -> Hop {
        Hop { id, caller, callee }
    }

    fn span(&self, kind: SpanKind, pod: u64) -> Span {
        let id = self.id;
        let client = kind == SpanKind::Client;
        let span_id = |kind: u64| mix(id ^ (kind << 60)).to_be_bytes().to_vec();
        let duration_ns = 800_000 + id % 97 * 130_000 + if client { 240_000 } else { 0 };
        let started_at = 1_700_000_000_000_000_000 + (id >> 8);
        Span {
            trace_id: [id.to_be_bytes(), mix(id ^ 5).to_be_bytes()].concat(),
            span_id: span_id(u64::from(!client)),
            parent_span_id: if client { Vec::new() } else { span_id(0) },
            name: format!("{}.shop.svc.cluster.local:8080/*", name(self.callee)),
            kind: kind.into(),
            start_time_unix_nano: started_at,
            end_time_unix_nano: started_at + duration_ns,
            attributes: self.attributes(client, pod),
            ..Span::default()
        }
    }

    /// Names and values as Istio's sidecars send them.
    fn attributes(&self, client: bool, pod: u64) -> Vec<KeyValue> {
        let (id, callee) = (self.id, name(self.callee));
        let service = if client { self.caller } else { self.callee };
        let own = name(service);
        let upstream = if client {
            format!("outbound|8080||{callee}.shop.svc.cluster.local")
        } else {
            "inbound|8080||".to_owned()
        };
        let node = format!(
            "sidecar~10.4.{}.{}~{own}-5d8f9c7b6-n{pod}v7t.shop~shop.svc.cluster.local",
            service % 10,
            pod + 7
        );
        vec![
            attribute("node_id", node),
            attribute("component", "proxy".to_owned()),
            attribute("guid:x-request-id", request_id(id)),
            attribute("http.url", format!("http://{callee}.shop.svc.cluster.local:8080{}", path(id))),
            attribute("http.method", if id % 9 == 0 { "POST" } else { "GET" }.to_owned()),
            attribute("http.protocol", "HTTP/1.1".to_owned()),
            attribute("http.status_code", if id % 53 == 0 { "503" } else { "200" }.to_owned()),
            attribute("downstream_cluster", "-".to_owned()),
            attribute("user_agent", format!("ShopApp/4.{}.1 (Android 15; build 88213)", id % 5)),
            attribute("request_size", (id % 90).to_string()),
            attribute("response_size", (id % 20_011).to_string()),
            attribute("response_flags", if id % 53 == 0 { "UF" } else { "-" }.to_owned()),
            attribute("upstream_cluster", upstream.clone()),
            attribute("upstream_cluster.name", upstream),
            attribute("peer.address", format!("10.4.{}.{}", self.caller % 10, id % 250)),
            attribute("istio.mesh_id", "mesh-uk1".to_owned()),
            attribute("istio.cluster_id", "uk1".to_owned()),
            attribute("istio.namespace", "shop".to_owned()),
            attribute("istio.canonical_service", own.to_owned()),
            attribute("istio.canonical_revision", "v1".to_owned()),
        ]
    }
}

fn request_id(id: u64) -> String {
    let rest = mix(id ^ 3);
    let (b, c, d) = (rest >> 48, rest >> 36 & 0xfff, rest >> 24 & 0xfff);
    format!("{:08x}-{b:04x}-4{c:03x}-9{d:03x}-{:012x}", id >> 32, mix(rest) >> 16)
}

/// Path and query; one in twenty holds personal data, one in four of the others a number of its own.
fn path(id: u64) -> String {
    match id / 7 % 100 {
        0 => format!("/customers?email=ada.lovelace{NUMBER}@example.org&page={}", id % 7),
        1 => format!("/customers/search?phone=%2B447700900{:03}&n={NUMBER}", id % 1_000),
        2 => format!("/payments/cards/4111111111111111/holds/{NUMBER}"),
        3 => format!("/login?access_token=eyJhbGciOiJIUzI1NiJ9.eyJzdWIi{NUMBER}In0.c2lnbmF0dXJl"),
        4 => format!("/accounts/GB29NWBK60161331926819/statements/{NUMBER}"),
        n if n % 4 == 0 => format!("/orders/{NUMBER}/lines"),
        _ => format!("/products/{}?page={}&sort=price", id % 500, id % 7),
    }
}

fn attribute(key: &str, text: String) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(text)) }),
        ..KeyValue::default()
    }
}

/// Spreads a number over 64 bits: the finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
fn mix(number: u64) -> u64 {
    let n = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const NOW: EventTime = EventTime(1_795_310_607_000_000);

    fn spans(bytes: &Bytes) -> Vec<Span> {
        let request = ExportTraceServiceRequest::decode(bytes.clone()).unwrap();
        request.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans).collect()
    }

    #[test]
    fn a_span_has_twenty_attributes_and_about_nine_hundred_bytes() {
        for size in [10, 100, 1_000] {
            let bytes = Workload::new(size).request(3, NOW);
            let spans = spans(&bytes);
            assert_eq!(spans.len(), size);
            assert!(spans.iter().all(|s| s.attributes.len() == 20));
            assert!((850..950).contains(&(bytes.len() / size)), "{} bytes a span", bytes.len() / size);
        }
    }

    #[test]
    fn every_resource_has_twenty_spans_and_every_callee_comes_after_its_caller() {
        let request = ExportTraceServiceRequest::decode(Workload::new(1_000).request(70, NOW)).unwrap();
        let mut callers = HashSet::new();
        for resource in &request.resource_spans {
            assert_eq!(resource.scope_spans[0].spans.len(), 20);
            for span in &resource.scope_spans[0].spans {
                assert!(span.parent_span_id.is_empty() || callers.contains(&span.parent_span_id));
                assert!(callers.insert(span.span_id.clone()), "ids are unique");
            }
        }
    }

    #[test]
    fn calls_ended_within_the_second_before_they_are_sent() {
        for span in spans(&Workload::new(100).request(5, NOW)) {
            let before = NOW.unix_nanos() - span.end_time_unix_nano;
            assert!(before < 1_000_000_000 && span.start_time_unix_nano < span.end_time_unix_nano);
        }
    }

    #[test]
    fn the_same_number_gives_the_same_bytes_and_no_other_number_does() {
        let workload = Workload::new(100);
        assert_eq!(workload.request(9, NOW), Workload::new(100).request(9, NOW));
        let (one, other) = (spans(&workload.request(9, NOW)), spans(&workload.request(9 + REQUESTS, NOW)));
        for (one, other) in one.iter().zip(&other) {
            assert_eq!(one.attributes.len(), other.attributes.len());
            assert_ne!((&one.trace_id, &one.span_id), (&other.trace_id, &other.span_id));
            assert_ne!(one.attributes[2], other.attributes[2], "request ids differ");
        }
        let urls =
            |spans: &[Span]| spans.iter().map(|s| value(&s.attributes[3]).to_owned()).collect::<HashSet<_>>();
        let new = urls(&other).difference(&urls(&one)).count();
        assert!((15..40).contains(&new), "{new} of 100 URLs are new");
    }

    #[test]
    fn thirty_pairs_and_personal_data_in_every_twentieth_span() {
        let workload = Workload::new(100);
        let all: Vec<Span> = workload.requests(NOW).iter().flat_map(spans).collect();
        let marks = ["email=", "phone=", "/cards/", "access_token=", "GB29"];
        let personal =
            all.iter().filter(|s| marks.iter().any(|m| value(&s.attributes[3]).contains(m))).count();
        assert!((0.04..0.06).contains(&(personal as f64 / all.len() as f64)), "{personal} of {}", all.len());
        let clients = all.iter().filter(|s| s.parent_span_id.is_empty());
        let pairs: HashSet<_> =
            clients.map(|s| (value(&s.attributes[18]), value(&s.attributes[12]))).collect();
        assert_eq!(pairs.len(), 30);
    }
}
