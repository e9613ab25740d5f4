//! Detection: calls of half a minute, counted, and judged as their windows close.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lapwing_benches::{Groups, NOW, PARTITIONS};
use lapwing_detection::{Mesh, Settings};
use lapwing_telemetry::{Calls, Offset, Position};

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

criterion_group!(benches, engine);
criterion_main!(benches);
