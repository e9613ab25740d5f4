//! Recorded telemetry full of planted personal data goes in; none of it is on disk afterwards, in findings, in
//! logs or on the page of metrics, in any case, percent-encoded or in base64.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};

use aho_corasick::{AhoCorasick, AhoCorasickBuilder};
use arrow::array::{Array, ArrayData};
use lapwing_otlp::Payload;
use lapwing_otlp::recording::Recording;
use lapwing_telemetry::Calls;
use tracing_subscriber::fmt::MakeWriter;

use crate::help::{Running, archived, files, journalled, settings};

const MESH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/mesh");
/// Recorded requests that are sent, and how many at a time.
const REQUESTS: usize = 3_000;
const AT_A_TIME: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_planted_is_found_on_disk() {
    let (lines, logged) = sync_channel(LOG_LINES);
    let logs = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(Lines(lines));
    logs.try_init().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let inventory = format!("inventory.file={MESH}/inventory.yaml");
    let settings = settings(dir.path(), &[&inventory, "detectors.save_interval=1s", "detectors.learning=1s"]);
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
    let gauges = running.pipeline.gauges.clone();
    let redactions = gauges.intake.clone();
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
    let findings = std::fs::read(dir.path().join("findings.ndjson")).unwrap();
    assert!(findings.len() > 1_000, "findings were made, so nothing in them is something");
    let page = gauges.text();
    assert!(page.contains("lapwing_redaction_hits_total{"), "{page}");
    planted.search(page.as_bytes(), &mut leaks);
    let mut log_bytes = 0;
    for line in logged.try_iter() {
        log_bytes += line.len();
        planted.search(&line, &mut leaks);
    }
    assert!(log_bytes > 1_000, "logs were written at every level: {log_bytes} bytes");
    for file in files(dir.path()) {
        planted.search(&std::fs::read(file).unwrap(), &mut leaks);
    }
    assert!(leaks.is_empty(), "found on disk, by type, places: {leaks:?}; sent: {sent:?}");
}

/// Log lines that are kept; further ones would be lost, so there is room for far more than are written.
const LOG_LINES: usize = 1 << 20;

/// Keeps log lines for the search.
struct Lines(SyncSender<Vec<u8>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_send(bytes.to_vec()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Lines;

    fn make_writer(&self) -> Lines {
        Lines(self.0.clone())
    }
}

/// The search that finds nothing above does find what is there.
#[test]
fn the_search_finds_what_is_planted_in_any_spelling_and_only_whole_addresses() {
    let planted =
        Planted::of(vec![("ipv4".into(), "198.51.100.7".into()), ("name".into(), "Jo%20Doe".into())]);
    let mut found = BTreeMap::new();
    planted.search(b"\x00\x07Jo%20Doe\x02 198.51.100.7:443 198.51.100.77 1198.51.100.7", &mut found);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [("ipv4".to_owned(), 1), ("name".to_owned(), 1)]);

    let planted = Planted::of(vec![("email".into(), "jo.doe@example.org".into())]);
    let hidden = ["JO.Doe@Example.ORG", "jo%2Edoe%40example%2Eorg", "jo.doe%40example.org"];
    let base64 = ["am8uZG9lQGV4YW1wbGUub3Jn", "IGpvLmRvZUBleGFtcGxlLm9yZyB4", "eHlqby5kb2VAZXhhbXBsZS5vcmc="];
    for text in hidden.iter().chain(&base64) {
        let mut found = BTreeMap::new();
        planted.search(text.as_bytes(), &mut found);
        assert!(found.contains_key("email"), "{text}");
    }
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
        let mut all = BTreeSet::new();
        for (kind, text) in spellings {
            // Seven characters of base64 may stand anywhere in binary data; what spells more may not.
            if text.len() >= 9 {
                all.extend(in_base64(text.as_bytes()).map(|spelled| (kind.clone(), spelled)));
            }
            all.extend(["", "-._~"].map(|kept| (kind.clone(), percent(&text, kept))));
            all.insert((kind, text));
        }
        let (kinds, spellings): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        // A name in base64 in other letters is another name, and a false alarm there is as unlikely.
        let search = AhoCorasickBuilder::new().ascii_case_insensitive(true).build(&spellings).unwrap();
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

/// Every byte that is no letter, digit or one of `kept` as `%40`; browsers keep `-._~` (RFC 3986, section 2.3).
fn percent(text: &str, kept: &str) -> String {
    let stays = |b: u8| b.is_ascii_alphanumeric() || kept.as_bytes().contains(&b);
    text.bytes().map(|b| if stays(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// What of a text's base64 (RFC 4648) does not depend on its neighbours, for the three places where it may begin.
fn in_base64(text: &[u8]) -> impl Iterator<Item = String> + '_ {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (0..3).map(|before| {
        let bits = 8 * text.len();
        let first = (6 - 8 * before % 6) % 6;
        let letters = (first..bits.saturating_sub(5)).step_by(6);
        let bit = |i: usize| usize::from(text[i / 8] >> (7 - i % 8) & 1);
        letters.map(|at| char::from(ALPHABET[(at..at + 6).fold(0, |n, i| n << 1 | bit(i))])).collect()
    })
}
