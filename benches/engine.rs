//! Detection: calls of half a minute, counted, and judged as their windows close.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lapwing_benches::{GROUP_ROWS, Groups, NOW, PARTITIONS};
use lapwing_detection::{Mesh, Settings};
use lapwing_telemetry::{Builders, Call, Calls, Offset, Outcome, Partition, Position, RawCalls, Signal};

/// What the product runs with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const GROUPS: usize = 60;

fn engine(c: &mut Criterion) {
    let calls: Vec<(Position, Calls)> = Groups::new(Duration::from_millis(500))
        .redacted(GROUPS)
        .into_iter()
        .flatten()
        .zip(1..)
        .map(|((partition, calls), offset)| (Position { partition, offset: Offset(offset) }, calls))
        .collect();
    let rows: usize = calls.iter().map(|(_, calls)| calls.len()).sum();
    let settings = Arc::new(Settings::default());
    let mut group = c.benchmark_group("engine");
    group.throughput(Throughput::Elements(rows as u64)).sample_size(20);
    group.bench_function("observe and judge", |b| {
        b.iter_batched_ref(
            || Mesh::new(PARTITIONS, settings.clone(), None),
            |mesh| {
                let mut findings = Vec::new();
                for (position, calls) in &calls {
                    mesh.observe(*position, calls, &mut findings);
                }
                mesh.advance(NOW.plus(Duration::from_secs(60)), &mut findings);
                findings
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// Pairs of a large mesh.
const PAIRS: usize = 10_000;
/// Calls that each makes in a window, on average.
const CALLS_PER_WINDOW: usize = 5;
/// Windows: four minutes.
const WINDOWS: usize = 24;

/// Minutes of calls of ten thousand pairs, by window and partition.
fn wide() -> Vec<Vec<(Partition, Calls)>> {
    let names: Vec<(String, String)> = (0..PAIRS)
        .map(|i| (format!("ns-{}/caller-{i}", i % 40), format!("ns-{}/called-{}", i % 25, i % 700)))
        .collect();
    let window = |number: usize| {
        let mut builders = Builders::new(PARTITIONS);
        let mut frames = Vec::new();
        for n in 0..PAIRS * CALLS_PER_WINDOW {
            // A multiplicative hash, so that pairs come in no order.
            let hash =
                ((number * PAIRS * CALLS_PER_WINDOW + n) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
            let (source, destination) = &names[hash as usize % PAIRS];
            let at = NOW.plus(Duration::from_millis(
                (number * 10_000 + n * 10_000 / PAIRS / CALLS_PER_WINDOW) as u64,
            ));
            let mut call = Call::new(at, at, Signal::LogServer, "bench");
            let trace = u128::from(hash).to_le_bytes();
            call.trace_id = Some(&trace);
            (call.source, call.destination) = (Some(source.as_str()), Some(destination.as_str()));
            call.duration_ns = Some(1_000_000 + (hash % 60_000_000) as i64);
            (call.bytes_in, call.bytes_out) = (Some(300), Some((hash % 9_000) as i64));
            call.outcome = Outcome::Ok;
            call.operation = Some("GET /things/{}");
            builders.append(&call, std::iter::empty());
            if builders.rows() >= GROUP_ROWS {
                frames.extend(builders.finish());
            }
        }
        frames.extend(builders.finish());
        let log =
            |raw: RawCalls| Calls::from_log(raw.into_batch()).expect("builders make the schema of calls");
        frames.into_iter().map(|(partition, raw)| (partition, log(raw))).collect()
    };
    (0..WINDOWS).map(window).collect()
}

/// Counting and judging minutes, most of them after learning. No pair is familiar, as in a mesh that has just been
/// connected.
fn wide_engine(c: &mut Criterion) {
    let minutes = wide();
    let settings = Arc::new(Settings { learning: Duration::from_secs(30), ..Settings::default() });
    let mut group = c.benchmark_group("engine");
    group.throughput(Throughput::Elements((PAIRS * CALLS_PER_WINDOW * WINDOWS) as u64)).sample_size(10);
    group.bench_function("ten thousand pairs", |b| {
        b.iter_batched_ref(
            || Mesh::new(PARTITIONS, settings.clone(), None),
            |mesh| {
                let (mut findings, mut offset) = (Vec::new(), 0);
                for (partition, calls) in minutes.iter().flatten() {
                    offset += 1;
                    let position = Position { partition: *partition, offset: Offset(offset) };
                    mesh.observe(position, calls, &mut findings);
                }
                mesh.advance(NOW.plus(Duration::from_secs(300)), &mut findings);
                findings
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, engine, wide_engine);
criterion_main!(benches);
