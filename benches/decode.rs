//! Request bytes to rows, against prost's decoding of the same bytes into structs.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lapwing_benches::{GROUP_ROWS, NOW, PARTITIONS, Workload};
use lapwing_otlp::{DecodeSettings, Decoder, Encoding, Inventory, Payload};
use lapwing_telemetry::Builders;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

/// What the product runs with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn decode(c: &mut Criterion) {
    for spans in [10, 100, 1_000] {
        let workload = Workload::new(spans);
        let requests = workload.requests(NOW);
        let mut group = c.benchmark_group(format!("decode/{spans}"));
        group.throughput(Throughput::Elements((requests.len() * spans) as u64));
        group.bench_function("prost", |b| {
            b.iter(|| {
                for request in &requests {
                    drop(black_box(ExportTraceServiceRequest::decode(request.as_ref())));
                }
            });
        });
        let inventory = Arc::new(Inventory::default());
        let mut decoder = Decoder::new(DecodeSettings::default(), inventory);
        group.bench_function("decode and build", |b| {
            b.iter(|| {
                let mut builders = Builders::new(PARTITIONS);
                for request in &requests {
                    let decoded =
                        decoder.decode(Payload::Traces, Encoding::Protobuf, request, NOW, &mut builders);
                    assert_eq!(decoded.map(|d| d.accepted), Ok(spans as u64));
                    if builders.rows() >= GROUP_ROWS {
                        black_box(builders.finish());
                    }
                }
                black_box(builders.finish());
            });
        });
        group.finish();
        let stats = decoder.stats();
        assert_eq!((stats.without_source, stats.without_destination, stats.server_spans_unjoined), (0, 0, 0));
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
