//! Redaction of batches as the door builds them, with the built-in rules.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lapwing_benches::texts::{self, Recorded, Texts};
use lapwing_benches::{GROUP_ROWS, Groups};
use lapwing_redaction::{Redactor, Rules};

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
fn new_text(c: &mut Criterion) {
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
    new_texts(c, "redact the corpus", &texts::corpus());
}

/// Texts made to be slow.
fn hostile(c: &mut Criterion) {
    new_texts(c, "redact hostile text", &texts::hostile());
}

fn new_texts(c: &mut Criterion, name: &str, cases: &[Texts]) {
    let rules = Arc::new(Rules::builtin());
    let mut group = c.benchmark_group(name);
    for case in cases {
        group.throughput(Throughput::Bytes(case.bytes() as u64));
        group.bench_function(case.name, |b| {
            b.iter_batched_ref(
                || Redactor::new(rules.clone()),
                |redactor| {
                    case.texts.iter().for_each(|text| drop(black_box(redactor.redact_text(None, text))));
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// Recorded access logs in columns, in a redactor that runs: bytes of all texts of attributes, in every row.
fn recorded(c: &mut Criterion) {
    let recorded = Recorded::read();
    let mut group = c.benchmark_group("redact recorded access logs");
    group.throughput(Throughput::Bytes(Recorded::text_bytes(&recorded.batches()) as u64));
    let mut redactor = Redactor::new(Arc::new(Rules::builtin()));
    group.bench_function("columns", |b| {
        b.iter_batched(
            || recorded.batches(),
            |batches| batches.into_iter().map(|(_, raw)| redactor.redact(raw)).collect::<Vec<_>>(),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, batches, new_text, corpus, hostile, recorded);
criterion_main!(benches);
