//! Frames of the journal: written by receive, read by detect and archive.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lapwing_benches::Groups;
use lapwing_storage::frame;
use lapwing_telemetry::{Calls, Offset, Position};

/// What the product runs with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Time between two groups of the door.
const STEP: Duration = Duration::from_millis(10);

fn frames(c: &mut Criterion) {
    let calls: Vec<(Position, Calls)> = Groups::new(STEP)
        .redacted(4)
        .into_iter()
        .flatten()
        .zip(1..)
        .map(|((partition, calls), offset)| (Position { partition, offset: Offset(offset) }, calls))
        .collect();
    let rows: usize = calls.iter().map(|(_, calls)| calls.len()).sum();
    let encoded: Vec<Vec<u8>> = calls
        .iter()
        .map(|(position, calls)| {
            let mut bytes = Vec::new();
            frame::encode(*position, calls, &mut bytes);
            bytes
        })
        .collect();
    let bytes: usize = encoded.iter().map(Vec::len).sum();
    let mut group = c.benchmark_group(format!("frame/{} rows of {} bytes", rows / calls.len(), bytes / rows));
    group.throughput(Throughput::Elements(rows as u64));
    let mut out = Vec::new();
    group.bench_function("encode", |b| {
        b.iter(|| {
            for (position, calls) in &calls {
                out.clear();
                frame::encode(*position, calls, &mut out);
                black_box(&out);
            }
        });
    });
    group.bench_function("check", |b| {
        b.iter(|| encoded.iter().for_each(|bytes| assert!(black_box(frame::check(bytes)).is_ok())));
    });
    group.bench_function("decode", |b| {
        b.iter(|| encoded.iter().for_each(|bytes| assert!(black_box(frame::decode(bytes)).is_ok())));
    });
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
