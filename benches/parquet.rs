//! A file of the archive, from frames to the synced file in its place.

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lapwing_benches::Groups;
use lapwing_storage::{Archive, ArchiveSettings, ClosedFile};
use lapwing_telemetry::{Calls, Offset, Position};

/// What the product runs with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Time between two groups of the door.
const STEP: Duration = Duration::from_millis(10);

/// As the pipeline sets it.
const ROW_GROUP_ROWS: usize = 65_536;

fn archive(c: &mut Criterion) {
    let calls: Vec<(Position, Calls)> = Groups::new(STEP)
        .redacted(32)
        .into_iter()
        .flatten()
        .zip(1..)
        .map(|((partition, calls), offset)| (Position { partition, offset: Offset(offset) }, calls))
        .collect();
    let rows: usize = calls.iter().map(|(_, calls)| calls.len()).sum();
    let written = write(&calls, &folder());
    let mut group =
        c.benchmark_group(format!("parquet/{rows} rows of {} bytes", written.bytes / written.rows));
    group.throughput(Throughput::Elements(rows as u64)).sample_size(10);
    group.bench_function("write", |b| {
        b.iter_batched_ref(folder, |folder| write(&calls, folder), BatchSize::PerIteration);
    });
    group.finish();
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("there is room for a file")
}

fn write(calls: &[(Position, Calls)], folder: &tempfile::TempDir) -> ClosedFile {
    let settings = ArchiveSettings {
        dir: folder.path().to_owned(),
        buffer_bytes: u64::MAX,
        row_group_rows: ROW_GROUP_ROWS,
        zstd_level: 1,
    };
    let mut archive = Archive::open(settings).expect("the folder is new");
    for (position, calls) in calls {
        archive.append(*position, calls).expect("all calls are of one hour");
    }
    archive.close_files().expect("there is room for a file").remove(0)
}

criterion_group!(benches, archive);
criterion_main!(benches);
