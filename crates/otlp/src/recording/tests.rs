//! Every form of recording, and what can be wrong with each.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use lapwing_telemetry::EventTime;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use proptest::prelude::*;
use prost::Message as _;

use super::peek::Glance;
use super::{Form, Message, Recording, RecordingError, RecordingLimits, split_frames};
use crate::{Encoding, Payload};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_772_409_600 * SECOND;

// ---- the forms ----

#[test]
fn the_same_requests_come_out_of_every_form_of_file_told_apart_by_content() {
    let protobuf: Vec<_> = (0..20).map(protobuf_request).collect();
    let json: Vec<_> = (0..20).map(json_request).collect();
    let forms = [
        (frames(&protobuf), Form::Frames),
        (frames(&each_compressed(&protobuf)), Form::Frames),
        (zstd_of(&frames(&protobuf)), Form::FramesInZstd),
        (frames(&json), Form::Frames),
        (frames(&each_compressed(&json)), Form::Frames),
        (lines(&json), Form::JsonLines),
        (zstd_of(&lines(&json)), Form::JsonLinesInZstd),
    ];
    for (content, form) in forms {
        let folder = Folder::new();
        let mut recording = Recording::open(&[folder.write("without-a-telling-name.bin", &content)]).unwrap();
        assert_eq!(recording.summary().files[0].form, form);
        let read: Vec<_> = recording.by_ref().map(Result::unwrap).collect();
        assert_eq!(read.len(), 20, "{form:?}");
        for (n, message) in read.iter().enumerate() {
            let (payload, end) = expected(n as u64);
            let body = if message.encoding == Encoding::Json { &json[n] } else { &protobuf[n] };
            assert_eq!(
                (message.payload, message.arrival, &message.body),
                (payload, end, body),
                "{form:?} {n}"
            );
        }
        let summary = recording.summary();
        assert_eq!((summary.traces, summary.logs, summary.other, summary.raised), (10, 10, 0, 0));
        assert_eq!(recording.read_bytes(), recording.total_bytes());
        assert_eq!(recording.total_bytes(), content.len() as u64);
    }
}

#[test]
fn surprise_12_a_stream_with_a_window_of_128_mebibytes_is_read() {
    // Of unknown length, as a pipe through `zstd --long=27` writes it.
    let long = |body: &[u8], log| each_compressed_with(&[Bytes::copy_from_slice(body)], log).remove(0);
    let content = frames(&(0..4).map(protobuf_request).collect::<Vec<_>>());
    let stream = long(&content, 27);
    // RFC 8878, section 3.1.1.1.2: the exponent, less 10, in the upper five bits.
    assert_eq!(10 + (stream[5] >> 3), 27);
    assert_eq!(split_frames(&stream).unwrap().len(), 4);
    let longer = split_frames(&long(&content, 28)).unwrap_err();
    assert!(matches!(longer, RecordingError::Inflate { .. }), "{longer:?}");
    let alone = each_compressed_with(&[protobuf_request(1)], 27);
    assert_eq!(split_frames(&frames(&alone)).unwrap(), [protobuf_request(1)]);
}

#[test]
fn the_recorded_mesh_is_read_whole_in_order_of_its_side_files() {
    let raw = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/mesh/raw");
    let mut recording = Recording::open(&[raw]).unwrap();
    let (files, skipped) = (&recording.summary().files, &recording.summary().skipped);
    assert_eq!(names(files.iter().map(|file| &file.path)), ["logs.otlp.pb.zst", "traces.otlp.pb.zst"]);
    assert_eq!(
        names(files.iter().map(|file| file.arrivals.as_ref().unwrap())),
        ["logs.arrivals.tsv.zst", "traces.arrivals.tsv.zst"]
    );
    let no_recordings =
        ["labels.json", "logs.arrivals.tsv.zst", "pairs.txt", "pii_truth.json", "traces.arrivals.tsv.zst"];
    assert_eq!(names(skipped.iter().map(|(path, _)| path)), no_recordings);

    let mut last = EventTime::MIN;
    let mut first = None;
    for message in recording.by_ref() {
        let message = message.unwrap();
        assert!(message.arrival >= last);
        last = message.arrival;
        first.get_or_insert(message.arrival);
    }
    assert_eq!(first, Some(EventTime::from_unix_nanos(1_795_310_607_472_053_389)));
    assert_eq!(last, EventTime::from_unix_nanos(1_795_310_985_801_839_900));
    let summary = recording.summary();
    assert_eq!((summary.logs, summary.traces, summary.other, summary.raised), (4_323, 4_760, 0, 0));
    assert_eq!(recording.read_bytes(), recording.total_bytes());
}

#[test]
fn the_samples_are_read_as_json_lines() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/mesh/samples");
    let mut recording = Recording::open(&[samples]).unwrap();
    assert!(recording.summary().files.iter().all(|file| file.form == Form::JsonLines));
    assert!(recording.by_ref().all(|message| message.unwrap().encoding == Encoding::Json));
    assert_eq!((recording.summary().traces, recording.summary().logs), (25, 25));
}

#[test]
fn a_request_has_the_same_payload_and_latest_time_in_protobuf_and_in_json() {
    let mesh = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/mesh");
    for signal in ["logs", "traces"] {
        let protobuf =
            split_frames(&fs::read(mesh.join(format!("raw/{signal}.otlp.pb.zst"))).unwrap()).unwrap();
        let json =
            split_frames(&fs::read(mesh.join(format!("samples/raw-{signal}.otlp.jsonl"))).unwrap()).unwrap();
        assert_eq!(json.len(), 25);
        for (protobuf, json) in protobuf.iter().zip(&json) {
            let glance = Glance::at_protobuf(protobuf);
            assert!(glance.payload.is_some() && glance.latest.is_some());
            assert_eq!(Glance::at_json(json), Some(glance));
        }
    }
}

// ---- arrivals ----

#[test]
fn a_side_file_gives_the_arrivals_plain_or_compressed() {
    let bodies: Vec<_> = (0..3).map(protobuf_request).collect();
    let side = side_file(&bodies, |n| START + n * SECOND + 123_456_789);
    for (name, content) in [("a.arrivals.tsv", side.clone()), ("a.arrivals.tsv.zst", zstd_of(&side))] {
        for (recording, stored) in
            [("a.otlp.pb.zst", zstd_of(&frames(&bodies))), ("a.otlp.pb", frames(&bodies))]
        {
            let folder = Folder::new();
            folder.write(recording, &stored);
            folder.write(name, &content);
            let read = read_all(folder.path()).unwrap();
            let arrivals: Vec<_> = read.iter().map(|message| message.arrival.0).collect();
            let first = START as i64 / 1_000 + 123_456;
            assert_eq!(arrivals, [first, first + 1_000_000, first + 2_000_000]);
        }
    }
}

#[test]
fn a_side_file_that_does_not_fit_is_an_error_that_names_its_line() {
    let bodies: Vec<_> = (0..3).map(protobuf_request).collect();
    let good = String::from_utf8(side_file(&bodies, |n| START + n)).unwrap();
    let three: Vec<_> = good.lines().collect();
    let cases = [
        (three[..2].join("\n"), 3, "the recording has more requests than this file has lines"),
        (format!("{good}{START}\t5\tgrpc\n"), 4, "the recording has fewer requests than this file has lines"),
        (
            format!("{}\n{START}\t5\tgrpc\n{}\n", three[0], three[2]),
            2,
            "the length differs from that of the request",
        ),
        ("1\tx\n".to_owned(), 1, "not an arrival time and a length, separated by a tab"),
    ];
    for (side, line, problem) in cases {
        let folder = Folder::new();
        folder.write("a.otlp.pb", &frames(&bodies));
        folder.write("a.arrivals.tsv", side.as_bytes());
        let error = read_all(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with(&format!("a.arrivals.tsv line {line}: {problem}")), "{error}");
    }
}

#[test]
fn without_a_side_file_a_request_arrives_at_its_latest_event_time() {
    let at = |seconds: &[u64]| logs(&seconds.iter().map(|s| START + s * SECOND).collect::<Vec<_>>());
    // The third has no time that can be believed, and arrives with the second.
    let bodies = [at(&[1, 9, 2]), at(&[10]), logs(&[0, 7, u64::MAX]), at(&[11])];
    let seconds: Vec<_> =
        arrivals(&frames(&bodies)).iter().map(|arrival| arrival - START as i64 / 1_000).collect();
    assert_eq!(seconds, [9_000_000, 10_000_000, 10_000_000, 11_000_000]);
}

#[test]
fn requests_a_little_out_of_order_are_put_right_and_the_rest_arrives_with_the_one_before() {
    let order = [0, 3, 1, 2, 5, 4, 9, 8, 7, 6, 20, 10];
    let content = frames(&order.map(|s| logs(&[START + s * SECOND])));
    let read = |reorder_requests| {
        let folder = Folder::new();
        let limits = RecordingLimits { reorder_requests, ..RecordingLimits::default() };
        let mut recording = Recording::open_with(&[folder.write("a", &content)], limits).unwrap();
        let seconds: Vec<_> =
            recording.by_ref().map(|m| (m.unwrap().arrival.0 - START as i64 / 1_000) / 1_000_000).collect();
        (seconds, recording.summary().raised)
    };
    assert_eq!(read(4), (vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20], 0));
    assert_eq!(read(1), (vec![0, 3, 3, 3, 5, 5, 9, 9, 9, 9, 20, 20], 7));
}

#[test]
fn several_files_are_merged_by_arrival_and_a_file_named_twice_is_read_once() {
    let folder = Folder::new();
    let part = |from: u64, step: u64| {
        frames(&(0..50).map(|n| logs(&[START + (from + n * step) * SECOND])).collect::<Vec<_>>())
    };
    let even = folder.write("deep/er/even", &part(0, 2));
    folder.write("odd", &part(1, 2));
    folder.write("later", &zstd_of(&part(1_000, 1)));
    let mut recording = Recording::open(&[folder.path(), even]).unwrap();
    let read: Vec<_> = recording.by_ref().map(|message| message.unwrap().arrival.0).collect();
    let expected: Vec<_> =
        (0..100).chain(1_000..1_050).map(|s| (START / 1_000) as i64 + s * 1_000_000).collect();
    assert_eq!(read, expected);
    assert_eq!(recording.summary().raised, 0);
}

#[test]
fn files_that_do_not_overlap_are_open_one_after_another_and_overlap_is_bounded() {
    let folder = Folder::new();
    for n in 0..6 {
        folder.write(&format!("{n}"), &frames(&[0, 5].map(|s| logs(&[START + (n * 10 + s) * SECOND]))));
    }
    let open = |max_open_files| {
        let limits = RecordingLimits { max_open_files, reorder_requests: 1, ..RecordingLimits::default() };
        Recording::open_with(&[folder.path()], limits).unwrap().collect::<Result<Vec<_>, _>>()
    };
    assert_eq!(open(1).unwrap().len(), 12);
    folder.write("over", &frames(&[logs(&[START]), logs(&[START + 100 * SECOND])]));
    assert!(matches!(open(1), Err(RecordingError::TooManyOpen { limit: 1 })));
    assert_eq!(open(2).unwrap().len(), 14);
}

// ---- what is no recording, and what is damaged ----

#[test]
fn below_a_folder_other_files_are_skipped_and_a_named_one_is_refused() {
    let folder = Folder::new();
    folder.write("a", &frames(&[protobuf_request(0)]));
    let others: [(&str, &[u8]); 9] = [
        ("b.json", b"{\n \"incidents\": []\n}\n"),
        ("c.json", b"{\"resourceMetrics\":[]}\n"),
        ("d.md", b"# A title\n"),
        ("e.parquet", b"PAR1...."),
        ("f.gz", b"\x1f\x8b\x08\0\0\0"),
        ("g.tsv.zst", &zstd_of(b"1\t2\n")),
        ("h", b""),
        ("i.metrics", &frames(&[metrics(), metrics()])),
        ("j.ico", b"\0\0\x01\0\x01\0"),
    ];
    let paths = others.map(|(name, content)| folder.write(name, content));
    let recording = Recording::open(&[folder.path()]).unwrap();
    assert_eq!(recording.summary().files.len(), 1);
    assert_eq!(names(recording.summary().skipped.iter().map(|(path, _)| path)), others.map(|(name, _)| name));
    for path in &paths {
        let Err(error) = Recording::open(std::slice::from_ref(path)) else {
            unreachable!("{} was taken for a recording", path.display());
        };
        assert!(
            matches!(
                error,
                RecordingError::NotARecording { .. }
                    | RecordingError::Truncated { .. }
                    | RecordingError::Empty { .. }
            ),
            "{error}"
        );
    }
    assert!(matches!(Recording::open(&[folder.path().join("nothing")]), Err(RecordingError::Read { .. })));
}

#[test]
fn metrics_and_empty_requests_among_the_others_are_passed_over_and_counted() {
    let folder = Folder::new();
    let bodies = [metrics(), Bytes::new(), protobuf_request(0), metrics(), protobuf_request(1)];
    let mut recording = Recording::open(&[folder.write("a", &frames(&bodies))]).unwrap();
    assert_eq!(recording.by_ref().map(Result::unwrap).count(), 2);
    assert_eq!(recording.summary().other, 3);
}

#[test]
fn a_recording_cut_short_gives_what_is_whole_and_then_says_where_it_was_cut() {
    let bodies: Vec<_> = (0..3).map(protobuf_request).collect();
    let content = frames(&bodies);
    let third = content.len() - bodies[2].len() - 4;
    for (cut, needed) in [(third + 3, 0), (third + 10, bodies[2].len() as u64 + 4)] {
        let folder = Folder::new();
        let path = folder.write("a", &content[..cut]);
        let mut recording = Recording::open(std::slice::from_ref(&path)).unwrap();
        assert!(recording.next().unwrap().is_ok());
        assert!(recording.next().unwrap().is_ok());
        match recording.next() {
            Some(Err(RecordingError::Truncated { path: named, offset, needed: says, found })) => {
                assert_eq!((named, offset, says, found), (path, third as u64, needed, (cut - third) as u64));
            }
            other => unreachable!("{other:?}"),
        }
        assert!(recording.next().is_none());
    }
    let json = lines(&[json_request(0), json_request(1)]);
    let cut = split_frames(&json[..json.len() - 9]).unwrap_err();
    assert!(
        matches!(cut, RecordingError::Truncated { offset, .. } if offset == json_request(0).len() as u64 + 1)
    );
    let stream = zstd_of(&content);
    assert!(matches!(split_frames(&stream[..stream.len() - 9]), Err(RecordingError::Inflate { .. })));
}

#[test]
fn damaged_and_hostile_content_is_refused_without_being_held() {
    let limit = RecordingLimits::default().max_message_bytes as u64;
    let bomb = zstd_of(&vec![0; limit as usize + 1]);
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("a length of 4 GiB", [&frames(&[protobuf_request(0)])[..], &[0xff; 8]].concat(), "TooLong"),
        ("a length of 60 MB with nothing behind it", vec![3, 0x90, 0, 0, 1, 2, 3], "Truncated"),
        ("a request that inflates beyond the limit", frames(&[bomb.into()]), "TooLong"),
        ("compressed content with a flipped bit", flipped(&frames(&[protobuf_request(0)])), "Inflate"),
        ("a line of something else", [&lines(&[json_request(0)])[..], b"[1]\n"].concat(), "NotJson"),
    ];
    for (name, content, expected) in cases {
        let error = format!("{:?}", split_frames(&content).unwrap_err());
        assert!(error.starts_with(expected), "{name}: {error}");
    }
}

#[test]
fn an_error_never_shows_what_is_in_the_recording() {
    let secret = "{\"resourceLogs\": alice@example.com}\n";
    let error = split_frames(secret.as_bytes()).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("alice"), "{error:?}");
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic(start in prop::sample::select(vec![&b""[..], b"{", b"\x28\xb5\x2f\xfd", b"\0\0\0\x20"]),
                                   rest in prop::collection::vec(any::<u8>(), 0..300)) {
        let _either = split_frames(&[start, &rest].concat());
    }

    #[test]
    fn a_recording_cut_anywhere_gives_a_prefix_or_an_error(cut in 0_usize..2_000, form in 0_usize..3) {
        let bodies: Vec<_> = (0..8).map(protobuf_request).collect();
        let content = [frames(&bodies), frames(&each_compressed(&bodies)), lines(&(0..8).map(json_request).collect::<Vec<_>>())];
        let content = &content[form][..cut.min(content[form].len())];
        if let Ok(read) = split_frames(content) {
            prop_assert!(read.len() <= 8);
            for (n, body) in read.iter().enumerate() {
                let whole = if form == 2 { json_request(n as u64) } else { protobuf_request(n as u64) };
                prop_assert_eq!(body, &whole);
            }
        }
    }
}

// ---- making recordings ----

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }
}

fn read_all(path: PathBuf) -> Result<Vec<Message>, RecordingError> {
    Recording::open(&[path])?.collect()
}

fn arrivals(content: &[u8]) -> Vec<i64> {
    let folder = Folder::new();
    read_all(folder.write("a", content)).unwrap().iter().map(|message| message.arrival.0).collect()
}

fn names<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Vec<&'a str> {
    paths.map(|path| path.file_name().unwrap().to_str().unwrap()).collect()
}

/// What request `n` carries, and its latest event time: even ones spans, odd ones log records.
fn expected(n: u64) -> (Payload, EventTime) {
    let payload = if n.is_multiple_of(2) { Payload::Traces } else { Payload::Logs };
    (payload, EventTime::from_unix_nanos(START + n * SECOND))
}

fn protobuf_request(n: u64) -> Bytes {
    match expected(n) {
        (Payload::Traces, end) => trace_request(end.unix_nanos()).encode_to_vec().into(),
        (Payload::Logs, time) => logs(&[time.unix_nanos() - SECOND, time.unix_nanos()]),
    }
}

fn json_request(n: u64) -> Bytes {
    match expected(n) {
        (Payload::Traces, end) => serde_json::to_vec(&trace_request(end.unix_nanos())).unwrap().into(),
        (Payload::Logs, time) => serde_json::to_vec(&log_request(&[time.unix_nanos()])).unwrap().into(),
    }
}

fn trace_request(end: u64) -> ExportTraceServiceRequest {
    let span = |end| Span {
        trace_id: vec![7; 16],
        span_id: vec![8; 8],
        name: "GET /".to_owned(),
        start_time_unix_nano: end - SECOND / 10,
        end_time_unix_nano: end,
        ..Span::default()
    };
    let scope_spans =
        vec![ScopeSpans { spans: vec![span(end), span(end - SECOND)], ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }],
    }
}

fn log_request(times: &[u64]) -> ExportLogsServiceRequest {
    let log_records = times
        .iter()
        .map(|time| LogRecord { time_unix_nano: *time, severity_number: 9, ..LogRecord::default() })
        .collect();
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
}

fn logs(times: &[u64]) -> Bytes {
    log_request(times).encode_to_vec().into()
}

/// A metric whose name is as long as a trace id.
fn metrics() -> Bytes {
    let metric = Metric { name: "sixteen.letters.".to_owned(), ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec().into()
}

fn frames(bodies: &[Bytes]) -> Vec<u8> {
    bodies.iter().flat_map(|body| [&(body.len() as u32).to_be_bytes()[..], body].concat()).collect()
}

fn lines(bodies: &[Bytes]) -> Vec<u8> {
    bodies.iter().flat_map(|body| [body, &b"\n"[..]].concat()).collect()
}

fn zstd_of(content: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(content, 3).unwrap()
}

fn each_compressed(bodies: &[Bytes]) -> Vec<Bytes> {
    bodies.iter().map(|body| zstd_of(body).into()).collect()
}

fn each_compressed_with(bodies: &[Bytes], window_log: u32) -> Vec<Bytes> {
    let compress = |body: &Bytes| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap().into()
    };
    bodies.iter().map(compress).collect()
}

fn side_file(bodies: &[Bytes], arrival: impl Fn(u64) -> u64) -> Vec<u8> {
    let line = |(n, body): (usize, &Bytes)| format!("{}\t{}\tgrpc\n", arrival(n as u64), body.len());
    bodies.iter().enumerate().map(line).collect::<String>().into_bytes()
}

/// A stream with a checksum and a flipped bit, which zstd cannot miss.
fn flipped(content: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(content).unwrap();
    let mut stream = encoder.finish().unwrap();
    let middle = stream.len() / 2;
    stream[middle] ^= 1;
    stream
}
