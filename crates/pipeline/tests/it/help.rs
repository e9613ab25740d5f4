//! A pipeline in a temporary directory, requests from few words, and rows read back from disk.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::Array;
use lapwing_otlp::Payload;
use lapwing_otlp::sender::Sender;
use lapwing_pipeline::config::{Config, Sources};
use lapwing_pipeline::run::Pipeline;
use lapwing_pipeline::settings::Settings;
use lapwing_storage::{Dataset, Journal, JournalSettings};
use lapwing_telemetry::{Calls, Clock, EventTime, Finding, LogEvent, LogReader};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

/// When the tests take place, by the pipeline's clock: a Sunday morning.
pub(crate) const BEGIN: EventTime = EventTime(1_795_312_800_000_000);
/// Longest wait for something that real time must bring about. Far beyond what any of it takes.
const PATIENCE: Duration = Duration::from_secs(40);

/// A clock that stands where the test has put it.
#[derive(Clone)]
pub(crate) struct Hands(Arc<AtomicI64>);

impl Hands {
    pub(crate) fn at(time: EventTime) -> Hands {
        Hands(Arc::new(AtomicI64::new(time.0)))
    }

    pub(crate) fn set(&self, time: EventTime) {
        self.0.store(time.0, Ordering::Relaxed);
    }

    pub(crate) fn clock(&self) -> Clock {
        let hands = self.0.clone();
        Arc::new(move || EventTime(hands.load(Ordering::Relaxed)))
    }
}

/// Settings for a pipeline in `data_dir` on free ports; `sets` are `key=value` and win.
pub(crate) fn settings(data_dir: &Path, sets: &[&str]) -> Settings {
    let mut all = vec![
        format!("data_dir={}", data_dir.display()),
        "receivers.otlp.protocols.grpc.endpoint=127.0.0.1:0".to_owned(),
        "receivers.otlp.protocols.http.endpoint=127.0.0.1:0".to_owned(),
        "extensions.health_check=null".to_owned(),
        "service.telemetry.metrics=null".to_owned(),
        "log.gather=1ms".to_owned(),
        "detectors.learning=60s".to_owned(),
        // Tests count rows; those about canaries switch them on.
        "redaction.canary.interval=0s".to_owned(),
    ];
    all.extend(sets.iter().map(|set| (*set).to_owned()));
    let env = |_: &str| None;
    let file = |path: &str| Err(format!("`{path}` is not for tests"));
    let config = Config::parse(&[], &all, &Sources { env: &env, file: &file }).unwrap();
    Settings::of(&config).unwrap()
}

/// A running pipeline and a client of it.
pub(crate) struct Running {
    pub(crate) pipeline: Pipeline,
    pub(crate) sender: Sender,
    pub(crate) hands: Hands,
}

impl Running {
    /// Starts one whose clock says [`BEGIN`].
    pub(crate) async fn start(settings: &Settings, tells_quiet: bool) -> Running {
        let hands = Hands::at(BEGIN);
        let pipeline = Pipeline::start(settings.clone(), hands.clock(), tells_quiet).await.unwrap();
        let sender = Sender::connect(pipeline.grpc_address().unwrap()).await.unwrap();
        Running { pipeline, sender, hands }
    }

    /// Ends it; every loop must end well and in time.
    pub(crate) async fn drain(self) {
        drop(self.sender);
        self.pipeline.drain().await.unwrap();
    }
}

/// A client's span of one call.
#[derive(Clone)]
pub(crate) struct Shot {
    pub(crate) id: u64,
    pub(crate) source: &'static str,
    pub(crate) destination: &'static str,
    pub(crate) ended_at: EventTime,
    pub(crate) status: u16,
    pub(crate) note: String,
}

/// A call from the shop's cart to its stock that ended now.
pub(crate) fn shot(id: u64) -> Shot {
    Shot {
        id,
        source: "shop/cart",
        destination: "shop/stock",
        ended_at: BEGIN,
        status: 200,
        note: String::new(),
    }
}

/// A trace request with these calls, each of which took 5 ms.
pub(crate) fn request(shots: &[Shot]) -> ExportTraceServiceRequest {
    let resource_spans = shots.iter().map(|shot| {
        let (namespace, name) = shot.source.split_once('/').unwrap();
        let resource = Resource {
            attributes: vec![text("service.namespace", namespace), text("service.name", name)],
            ..Resource::default()
        };
        let end = shot.ended_at.unix_nanos();
        let mut attributes = vec![
            text("peer.service", shot.destination),
            text("http.request.method", "GET"),
            text("http.response.status_code", &shot.status.to_string()),
        ];
        if !shot.note.is_empty() {
            attributes.push(text("note", &shot.note));
        }
        let span = Span {
            trace_id: [&[7; 8][..], &shot.id.to_be_bytes()].concat(),
            span_id: shot.id.to_be_bytes().to_vec(),
            name: "GET /stock".into(),
            kind: 3,
            start_time_unix_nano: end.saturating_sub(5_000_000),
            end_time_unix_nano: end,
            attributes,
            ..Span::default()
        };
        ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }
}

pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(any_value::Value::StringValue(value.into()));
    KeyValue { key: key.into(), value: Some(AnyValue { value }), ..KeyValue::default() }
}

/// Sends these calls in one request; panics unless they are acknowledged.
pub(crate) async fn send(sender: &mut Sender, shots: &[Shot]) {
    sender.send(Payload::Traces, &request(shots).encode_to_vec()).await.unwrap();
}

/// Waits until `condition` holds. It looks every few milliseconds, because what it waits for happens on
/// other threads and on disk, where no future wakes the test.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let mut ticks = interval(Duration::from_millis(5));
    let looking = async {
        while !condition() {
            ticks.tick().await;
        }
    };
    assert!(timeout(PATIENCE, looking).await.is_ok(), "in {PATIENCE:?} it never came to be that {what}");
}

/// One HTTP/1.1 request on a connection of its own: status line, headers and body of the answer as they came.
pub(crate) async fn post(address: Option<SocketAddr>, path: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address.unwrap()).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: lapwing\r\nconnection: close\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.unwrap_or_else(|| panic!("no status in {answer:?}")), answer)
}

/// How often each span id occurs in these calls.
pub(crate) fn count_ids(calls: &Calls, ids: &mut BTreeMap<u64, usize>) {
    let column = calls.columns().span_id();
    for row in (0..calls.len()).filter(|&row| column.is_valid(row)) {
        *ids.entry(u64::from_be_bytes(column.value(row).try_into().unwrap())).or_default() += 1;
    }
}

/// Every batch of the archive below `dir`.
pub(crate) fn archived(dir: &Path) -> Vec<Calls> {
    let mut dataset = Dataset::open(&[dir.to_owned()], 4).unwrap();
    std::iter::from_fn(|| dataset.read().unwrap()).map(|(_, calls)| calls).collect()
}

/// How often each span id occurs in the archive below `dir`.
pub(crate) fn archived_ids(dir: &Path) -> BTreeMap<u64, usize> {
    let mut ids = BTreeMap::new();
    archived(dir).iter().for_each(|calls| count_ids(calls, &mut ids));
    ids
}

/// Every frame in the journal of a data directory in which no pipeline runs and none will: what its readers
/// had read is forgotten.
pub(crate) async fn journalled(data_dir: &Path) -> Vec<Calls> {
    let consumers = vec!["archive".to_owned()];
    let (dir, disk_budget_bytes) = (data_dir.join("journal"), 1 << 30);
    let settings = JournalSettings { dir, disk_budget_bytes, segment_bytes: 64 << 20, consumers };
    let read = settings.dir.join("consumers");
    if read.exists() {
        fs::remove_dir_all(read).unwrap();
    }
    let (writer, journal) = Journal::open(settings).unwrap();
    let mut reader = journal.reader("archive", None).unwrap();
    drop(writer); // The log ends after its last frame.
    let mut frames = Vec::new();
    while let Some(event) = reader.next().await.unwrap() {
        if let LogEvent::Frame { calls, .. } = event {
            frames.push(calls);
        }
    }
    frames
}

/// Copies a data directory while a pipeline runs in it: what a crash at one moment would leave.
///
/// A copy takes a while, so the order matters. What says "so far" is copied before what it speaks of: the
/// readers' places, then state, then everything else, and the log's segments last.
pub(crate) fn copy_as_a_crash_leaves_it(from: &Path, to: &Path) {
    let mut files = files(from);
    files.sort_by_key(|path| {
        let below = path.strip_prefix(from).unwrap();
        match below.components().next().and_then(|c| c.as_os_str().to_str()) {
            Some("journal") if path.extension().is_none() => 0, // consumers/<name>, lock
            Some("state") => 1,
            Some("journal") => 3,
            _ => 2,
        }
    });
    // Listed anew before the segments, of which there may be more by now.
    for path in files.iter().filter(|path| path.extension().is_none_or(|e| e != "journal")) {
        copy(path, from, to);
    }
    for path in self::files(from).iter().filter(|path| path.extension().is_some_and(|e| e == "journal")) {
        copy(path, from, to);
    }
}

fn copy(path: &Path, from: &Path, to: &Path) {
    let target = to.join(path.strip_prefix(from).unwrap());
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    match fs::copy(path, target) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {} // Renamed or deleted meanwhile.
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// Every file below `dir`, in order of path.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// The findings in a file of one revision per line.
pub(crate) fn findings(path: &Path) -> Vec<Finding> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Calls a second and a half apart between three pairs for `minutes` from `from` on. Ids count up from `first`.
pub(crate) fn steady(first: u64, from: EventTime, minutes: u64) -> Vec<Shot> {
    let pairs = [("shop/cart", "shop/stock"), ("shop/web", "shop/cart"), ("shop/web", "pay/ledger")];
    (0..minutes * 40)
        .map(|i| {
            let (source, destination) = pairs[i as usize % 3];
            let ended_at = from.plus(Duration::from_millis(1_500 * i));
            Shot { source, destination, ended_at, ..shot(first + i) }
        })
        .collect()
}
