//! What the fuzz targets call, on a few thousand damaged seeds: nothing may panic, and what is refused is
//! refused with words.

use lapwing_otlp::{Encoding, Inventory, Payload, access_log, latest_event_time, sniff};
use proptest::prelude::*;

use crate::help::{NOW, decode, decoder, log, logs, span, traces};

const INVENTORY: &str = "trust_domain: cluster.local\nworkloads:\n  - {namespace: shop, service: cart, service_account: cart, addresses: [127.31.1.12]}\n";
const LINE: &str = "[2026-11-22T01:23:28.454Z] \"GET /export?since=10 HTTP/1.1\" 200 - via_upstream - \"-\" 0 18372 25 23 \"-\" \"a\" \"b\" \"c\" \"127.31.2.12:8080\" outbound|8080||ledger.pay.svc.cluster.local 127.31.5.11:55218 127.31.5.11:15001 127.31.5.11:49261 - default";
const JSON: &str = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"a","value":{"arrayValue":{"values":[{"intValue":"1"},{"bytesValue":"AQ=="}]}}}]},"scopeLogs":[{"logRecords":[{"timeUnixNano":"1795310699000000000","traceId":"5b8efff798038103d269b633813fc60c","body":{"stringValue":"x"}}]}]}]}"#;

fn seeds() -> Vec<Vec<u8>> {
    let log = log(&[("upstream_cluster", "inbound|1||"), ("response_code", "200"), ("duration", "3")]);
    let span = span(2, &[("http.url", "http://a/b"), ("http.status_code", "200")]);
    let bodies = [
        logs(&[("service.name", "cart.shop")], vec![log]),
        traces(&[("service.name", "cart.shop")], vec![span]),
    ];
    bodies
        .into_iter()
        .chain(
            [LINE, JSON, INVENTORY, "{\"kind\":\"List\",\"items\":[]}"].map(|text| text.as_bytes().to_vec()),
        )
        .collect()
}

fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8);
    (prop::sample::select(seeds()), prop::collection::vec(change, 0..6)).prop_map(|(mut seed, changes)| {
        for (at, byte, kind) in changes {
            let at = at.index(seed.len().max(1)).min(seed.len());
            match kind {
                0 => seed.truncate(at),
                1 => seed.insert(at, byte),
                2 if at < seed.len() => drop(seed.remove(at)),
                _ if at < seed.len() => seed[at] = byte,
                _ => {}
            }
        }
        seed
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn nothing_that_a_stranger_sends_makes_the_decoder_panic(bytes in damaged()) {
        let mut decoder = decoder(std::sync::Arc::default());
        for payload in [Payload::Traces, Payload::Logs] {
            for encoding in [Encoding::Protobuf, Encoding::Json] {
                if let Err(refused) = decode(&mut decoder, payload, encoding, &bytes, NOW) {
                    prop_assert!(!refused.reason.is_empty());
                }
            }
            latest_event_time(payload, &bytes);
        }
        sniff(&bytes);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            access_log::read_text(text, |_, _| ());
            access_log::read_json(text, |_, _| ());
            if let Err(refused) = Inventory::parse(text) {
                prop_assert!(!refused.to_string().is_empty());
            }
        }
    }
}
