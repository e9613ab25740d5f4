//! Redaction of batches as the door builds them, with the built-in rules.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lapwing_benches::{GROUP_ROWS, Groups, NOW};
use lapwing_otlp::{DecodeSettings, Decoder, Encoding, Inventory, Payload};
use lapwing_redaction::{Redactor, Rules};
use lapwing_telemetry::Builders;

/// What the product runs with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Time between two groups of the door.
const STEP: Duration = Duration::from_millis(10);

fn batches(c: &mut Criterion) {
    let rules = Arc::new(Rules::builtin());
    let mut groups = Groups::new(STEP);
    let mut group = c.benchmark_group("redact");
    group.throughput(Throughput::Elements(GROUP_ROWS as u64));
    let mut redactor = Redactor::new(rules.clone());
    group.bench_function("running", |b| {
        b.iter_batched(
            || groups.next_raw(),
            |raw| raw.into_iter().map(|(_, raw)| redactor.redact(raw)).collect::<Vec<_>>(),
            BatchSize::LargeInput,
        );
    });
    group.bench_function("just started", |b| {
        b.iter_batched(
            || (groups.next_raw(), Redactor::new(rules.clone())),
            |(raw, mut redactor)| {
                let calls: Vec<_> = raw.into_iter().map(|(_, raw)| redactor.redact(raw)).collect();
                (calls, redactor)
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// Texts that were not seen before; one letter outside ASCII must not make them dear.
fn texts(c: &mut Criterion) {
    let rules = Arc::new(Rules::builtin());
    let plain: Vec<String> = (0..1_000)
        .map(|n| format!("/products/{n}?page={}&sort=price&note=left at the door", n % 7))
        .collect();
    let accented: Vec<String> = plain.iter().map(|text| format!("é{text}")).collect();
    let mut group = c.benchmark_group("redact a new text");
    group.throughput(Throughput::Elements(plain.len() as u64));
    for (name, texts) in [("ASCII", &plain), ("one letter outside ASCII", &accented)] {
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                || Redactor::new(rules.clone()),
                |redactor| texts.iter().for_each(|text| drop(black_box(redactor.redact_text(None, text)))),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// Lines of the corpus, each distinct text once, and nothing remembered: what scanning costs.
fn corpus(c: &mut Criterion) {
    #[derive(serde::Deserialize)]
    struct Line {
        text: String,
        clean: bool,
    }
    let lines = include_str!("../datasets/redaction/corpus.jsonl").lines();
    let lines = lines.map(|line| serde_json::from_str::<Line>(line).expect("the corpus has its format"));
    let all: BTreeMap<String, bool> = lines.map(|line| (line.text, line.clean)).collect();
    let clean: Vec<String> = all.iter().filter(|(_, clean)| **clean).map(|(text, _)| text.clone()).collect();
    let all: Vec<String> = all.into_keys().collect();
    let ascii: Vec<String> = clean.iter().filter(|text| text.is_ascii()).cloned().collect();
    let accented: Vec<String> = ascii.iter().map(|text| format!("é{text}")).collect();
    let cases = [("all", all), ("clean", clean), ("clean, ASCII", ascii), ("clean, with é", accented)];
    new_texts(c, "redact the corpus", &cases);
}

/// Texts made to be slow.
fn hostile(c: &mut Criterion) {
    let repeat = |piece: &str| vec![piece.repeat(16_384 / piece.len()); 8];
    let cases = [
        ("prose", repeat("the order was sent to the shop in the morning and ")),
        ("password=", repeat("password=")),
        ("token space", repeat("token ")),
        ("quotes", repeat("\"password\":\"")),
        ("@", repeat("a@")),
        ("://", repeat("://u:p@")),
        ("percent", repeat("%25")),
        ("digits", repeat("4111 1111 ")),
        ("colons", repeat("ab:cd:")),
        ("base64", repeat("YW5uQGV4YW1wbGUub3Jn")),
        ("insert", repeat("VALUES ('a', ")),
        ("names", repeat("Dr Ann Example ")),
        ("entities", repeat("&#64;")),
        ("dots", repeat("1.2.3.")),
    ];
    new_texts(c, "redact hostile text", &cases);
}

fn new_texts(c: &mut Criterion, name: &str, cases: &[(&str, Vec<String>)]) {
    let rules = Arc::new(Rules::builtin());
    let mut group = c.benchmark_group(name);
    for (name, texts) in cases {
        group.throughput(Throughput::Bytes(texts.iter().map(|text| text.len() as u64).sum()));
        group.bench_function(*name, |b| {
            b.iter_batched_ref(
                || Redactor::new(rules.clone()),
                |redactor| texts.iter().for_each(|text| drop(black_box(redactor.redact_text(None, text)))),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// Recorded access logs in columns, in a redactor that runs: bytes of all texts of attributes, in every row.
fn recorded(c: &mut Criterion) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../datasets/mesh/raw/logs.otlp.pb.zst");
    let file = std::fs::File::open(path).expect("the dataset is in the repository");
    let mut stream = zstd::Decoder::new(file).expect("it is zstd");
    stream.window_log_max(27).expect("a window of 128 MiB is allowed");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("it can be read");
    let decode = || {
        let mut decoder = Decoder::new(DecodeSettings::default(), Arc::new(Inventory::default()));
        let mut builders = Builders::new(1);
        let (mut batches, mut rest) = (Vec::new(), &bytes[..]);
        while let Some((length, tail)) = rest.split_first_chunk() {
            let (request, tail) = tail.split_at(u32::from_be_bytes(*length) as usize);
            decoder
                .decode(Payload::Logs, Encoding::Protobuf, request, NOW, &mut builders)
                .expect("the recording can be decoded");
            if builders.rows() >= GROUP_ROWS {
                batches.extend(std::mem::replace(&mut builders, Builders::new(1)).finish());
            }
            rest = tail;
        }
        batches
    };
    let text: usize = decode()
        .iter()
        .map(|(_, raw)| {
            let attributes = raw.columns().attributes();
            (0..raw.len()).flat_map(|row| attributes.row(row)).map(|(_, value)| value.len()).sum::<usize>()
        })
        .sum();
    let mut group = c.benchmark_group("redact recorded access logs");
    group.throughput(Throughput::Bytes(text as u64));
    let mut redactor = Redactor::new(Arc::new(Rules::builtin()));
    group.bench_function("columns", |b| {
        b.iter_batched(
            &decode,
            |batches| batches.into_iter().map(|(_, raw)| redactor.redact(raw)).collect::<Vec<_>>(),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, batches, texts, corpus, hostile, recorded);
criterion_main!(benches);
