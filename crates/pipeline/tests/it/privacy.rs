//! Recorded telemetry full of planted personal data goes in; none of it is on disk afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use arrow::array::{Array, ArrayData};
use lapwing_otlp::Payload;
use lapwing_otlp::recording::Recording;
use lapwing_telemetry::Calls;

use crate::help::{Running, archived, files, journalled, settings};

const MESH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/mesh");
/// Recorded requests that are sent, and how many at a time.
const REQUESTS: usize = 3_000;
const AT_A_TIME: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_planted_is_found_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let inventory = format!("inventory.file={MESH}/inventory.yaml");
    let settings = settings(dir.path(), &[&inventory, "detectors.save_interval=1s"]);
    let mut running = Running::start(&settings, false).await;
    let planted = Planted::read();
    let mut sent = BTreeMap::new();
    let recording = Recording::open(&[PathBuf::from(MESH).join("raw")]).unwrap();
    let messages: Vec<_> = recording.take(REQUESTS).collect::<Result<_, _>>().unwrap();
    for messages in messages.chunks(AT_A_TIME) {
        running.hands.set(messages.last().unwrap().arrival);
        for payload in [Payload::Traces, Payload::Logs] {
            // Protobuf messages of one type merge when their bytes are joined.
            let bodies = messages.iter().filter(|message| message.payload == payload);
            let body: Vec<u8> = bodies.flat_map(|message| message.body.iter().copied()).collect();
            planted.search(&body, &mut sent);
            running.sender.send(payload, &body).await.unwrap();
        }
    }
    let redactions = running.pipeline.gauges.intake.clone();
    running.drain().await;
    let kinds = [
        "card",
        "dob",
        "email",
        "iban",
        "ipv4",
        "ipv6",
        "jwt",
        "name",
        "nhs",
        "nino",
        "phone",
        "postcode",
        "sort_code",
    ];
    let absent: Vec<_> = kinds.iter().filter(|kind| !sent.contains_key(**kind)).collect();
    assert!(absent.is_empty(), "the requests sent hold no {absent:?}, so nothing is proven about them");
    assert!(redactions.borrow().redactions.iter().map(|hit| hit.count).sum::<u64>() > 10_000);

    let archive = archived(&settings.archive_dir());
    let journal = journalled(dir.path()).await;
    let rows = |calls: &[Calls]| calls.iter().map(Calls::len).sum::<usize>();
    assert!(rows(&archive) > 5_000 && rows(&archive) == rows(&journal), "{} rows", rows(&archive));
    let mut leaks = BTreeMap::new();
    for calls in archive.iter().chain(&journal) {
        for column in calls.batch().columns() {
            search_column(&column.to_data(), &planted, &mut leaks);
        }
    }
    for file in files(dir.path()) {
        planted.search(&std::fs::read(file).unwrap(), &mut leaks);
    }
    assert!(leaks.is_empty(), "found on disk, by type, places: {leaks:?}; sent: {sent:?}");
}

/// The search that finds nothing above does find what is there.
#[test]
fn the_search_finds_what_is_planted_in_any_spelling_and_only_whole_addresses() {
    let planted =
        Planted::of(vec![("ipv4".into(), "198.51.100.7".into()), ("name".into(), "Jo%20Doe".into())]);
    let mut found = BTreeMap::new();
    planted.search(b"\x00\x07Jo%20Doe\x02 198.51.100.7:443 198.51.100.77 1198.51.100.7", &mut found);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [("ipv4".to_owned(), 1), ("name".to_owned(), 1)]);
}

/// The values planted in the recording, in every spelling, as one search.
struct Planted {
    kinds: Vec<String>,
    spellings: Vec<String>,
    search: AhoCorasick,
}

impl Planted {
    fn read() -> Planted {
        let path = Path::new(MESH).join("raw/pii_truth.json");
        let truth: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let mut spellings = BTreeSet::new();
        for value in truth["values"].as_array().unwrap() {
            let kind = value["type"].as_str().unwrap().to_owned();
            let forms = value["forms"].as_array().unwrap().iter();
            for form in forms.chain([&value["value"]]) {
                spellings.insert((kind.clone(), form.as_str().unwrap().to_owned()));
            }
        }
        for token in truth["tokens"].as_array().unwrap() {
            spellings.insert(("jwt".to_owned(), token["prefix"].as_str().unwrap().to_owned()));
        }
        Planted::of(spellings.into_iter().collect())
    }

    fn of(spellings: Vec<(String, String)>) -> Planted {
        let (kinds, spellings): (Vec<_>, Vec<_>) = spellings.into_iter().unzip();
        let search = AhoCorasick::new(&spellings).unwrap();
        Planted { kinds, spellings, search }
    }

    /// Counts what is found, by type. An address that is part of a longer one is another address.
    fn search(&self, bytes: &[u8], found: &mut BTreeMap<String, u64>) {
        for hit in self.search.find_overlapping_iter(bytes) {
            let kind = &self.kinds[hit.pattern().as_usize()];
            let of_address = |byte: Option<&u8>| match kind.as_str() {
                "ipv4" => byte.is_some_and(u8::is_ascii_digit),
                "ipv6" => byte.is_some_and(u8::is_ascii_hexdigit),
                _ => false,
            };
            let before = hit.start().checked_sub(1).and_then(|at| bytes.get(at));
            if !of_address(before) && !of_address(bytes.get(hit.end())) {
                debug_assert!(!self.spellings[hit.pattern().as_usize()].is_empty());
                *found.entry(kind.clone()).or_default() += 1;
            }
        }
    }
}

/// Searches the memory of a column and of what it is made of, so that no column can be forgotten.
fn search_column(column: &ArrayData, planted: &Planted, found: &mut BTreeMap<String, u64>) {
    column.buffers().iter().for_each(|buffer| planted.search(buffer.as_slice(), found));
    column.child_data().iter().for_each(|child| search_column(child, planted, found));
}
