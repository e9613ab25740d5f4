//! The mirror of the configuration text: strict, with every default written in one place.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::exporters::Exporters;
use super::units::{Size, Span};

/// A mirror type: strict about unknown keys, absent keys take the value of its `Default`.
macro_rules! mirror {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty = $default:expr,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type,)+ }

        impl Default for $name {
            fn default() -> $name { $name { $($field: $default,)+ } }
        }
    };
}

pub(super) use mirror;

mirror! {
    /// A lapwing pipeline. The ends (`receivers`, `exporters`, `extensions`, `service`) have the shape of an
    /// OpenTelemetry Collector's configuration; what a Collector does not have stands under keys of its own.
    ConfigFile {
        /// Where journal, saved state, spools and (unless said otherwise) archive and findings live.
        data_dir: String = "./lapwing-data".into(),
        /// Where telemetry comes in.
        receivers: Receivers = Receivers::default(),
        /// Names for addresses and service accounts.
        inventory: Inventory = Inventory::default(),
        /// The log between receive and the readers.
        log: Log = Log::default(),
        /// What is removed before anything is stored, learned from or sent.
        redaction: Redaction = Redaction::default(),
        /// How deviations are found.
        detectors: Detectors = Detectors::default(),
        /// Where findings go.
        exporters: Exporters = Exporters::default(),
        /// Redacted telemetry in Parquet.
        archive: Archive = Archive::default(),
        /// How long the archive is kept.
        retention: Retention = Retention::default(),
        /// Probes around the pipeline.
        extensions: Extensions = Extensions::default(),
        /// Roles, shutdown and lapwing's own telemetry.
        service: Service = Service::default(),
    }
}

mirror! {
    /// Where telemetry comes in.
    Receivers {
        /// The OTLP receiver.
        otlp: Otlp = Otlp::default(),
    }
}

mirror! {
    /// The OTLP receiver: traces and logs, over gRPC and HTTP.
    Otlp {
        /// The two protocols.
        protocols: Protocols = Protocols::default(),
        /// What one sender, and all together, may ask for.
        limits: Limits = Limits::default(),
        /// The cluster of telemetry that does not name one (`k8s.cluster.name`).
        default_cluster: String = "default".into(),
    }
}

mirror! {
    /// The two protocols; set one to `null` to close it.
    Protocols {
        /// OTLP/gRPC.
        grpc: Option<Endpoint> = Some(Endpoint { endpoint: "127.0.0.1:4317".into(), tls: None }),
        /// OTLP/HTTP: `/v1/traces` and `/v1/logs`.
        http: Option<Endpoint> = Some(Endpoint { endpoint: "127.0.0.1:4318".into(), tls: None }),
    }
}

/// An address to listen on.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// `host:port`. Loopback unless you say otherwise: whoever can reach it can write telemetry.
    pub endpoint: String,
    /// TLS; without it the endpoint speaks plain text.
    #[serde(default)]
    pub tls: Option<Tls>,
}

/// Server-side TLS.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM certificate chain.
    pub cert_file: String,
    /// PEM private key.
    pub key_file: String,
    /// PEM certificates of the authorities that may sign client certificates; with it, clients must present one.
    #[serde(default)]
    pub client_ca_file: Option<String>,
    /// How often the files are read again.
    #[serde(default = "reload_interval")]
    pub reload_interval: Span,
}

fn reload_interval() -> Span {
    Span::seconds(60)
}

mirror! {
    /// Limits at the door. Work beyond them is refused with a retry hint, or, if a retry cannot help, for good.
    Limits {
        /// Largest request, after decompression.
        max_request_size: Size = Size::mib(16),
        /// Bytes of all requests in flight together.
        max_in_flight_size: Size = Size::mib(64),
        /// Requests in flight together.
        max_in_flight_requests: u32 = 1_024,
        /// Open connections.
        max_connections: u32 = 4_096,
        /// How long a request may take to arrive and be answered.
        request_timeout: Span = Span::seconds(30),
        /// What a refused sender is told to wait.
        retry_after: Span = Span::seconds(2),
        /// Attributes of one span or log record; further ones are dropped and counted.
        max_attributes: u32 = 128,
        /// Longest attribute value; the rest is cut and counted.
        max_value_size: Size = Size(16 << 10),
        /// Deepest nesting of an attribute value.
        max_nesting: u32 = 16,
        /// How far ahead of the door's clock a call's time may be.
        max_ahead: Span = Span::seconds(3_600),
        /// How old a call may be when it arrives.
        max_age: Span = Span::seconds(7 * 86_400),
    }
}

mirror! {
    /// Names for addresses and service accounts.
    Inventory {
        /// A workload inventory (YAML) or the output of `kubectl get pods -A -o json`.
        file: Option<String> = None,
        /// How often the file is looked at for changes.
        reload_interval: Span = Span::seconds(15),
    }
}

mirror! {
    /// The log between receive and the readers: a journal on the local disk.
    Log {
        /// Independent, ordered parts; a pair's calls all lie in one.
        partitions: u16 = 1,
        /// Most bytes the journal may hold; when readers are this far behind, senders are told to wait.
        disk_budget: Size = Size(1 << 30),
        /// Size at which a new file is begun.
        segment_size: Size = Size::mib(64),
        /// Requests are gathered this long, so that one disk sync serves many.
        gather: Span = Span(std::time::Duration::from_millis(2)),
        /// Bytes of requests after which a group is appended without waiting longer.
        gather_size: Size = Size::mib(2),
    }
}

mirror! {
    /// What is removed before anything is stored, learned from or sent.
    Redaction {
        /// Rule files; together with the built-in rules.
        rules: Vec<String> = Vec::new(),
        /// Keys with which replaced values become stable pseudonyms instead of bare placeholders.
        pseudonym_keys: Vec<PseudonymKeySource> = Vec::new(),
        /// How often the files of rules and keys are looked at for changes.
        reload_interval: Span = Span::seconds(15),
        /// Made-up values sent through the pipeline to prove that redaction holds.
        canary: Canary = Canary::default(),
    }
}

mirror! {
    /// Made-up values sent through the pipeline to prove that redaction holds.
    Canary {
        /// Time between two canaries; `0s` sends none.
        interval: Span = Span::seconds(3_600),
        /// Time after which a canary must have come out of the log.
        deadline: Span = Span::seconds(300),
        /// Kinds of values that you have decided to let pass, for example `[postcode]`.
        except: Vec<String> = Vec::new(),
        /// Makes the made-up values repeatable; drawn at random if not given.
        seed: Option<u64> = None,
    }
}

/// A key for pseudonyms. Which key a call gets is decided by its time of arrival; where two keys hold, its
/// tokens carry a pseudonym of each.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PseudonymKeySource {
    /// Name of the key, part of each pseudonym: 1 to 8 small letters and digits, a letter first.
    pub id: String,
    /// File with at least 32 bytes that its owner alone may read.
    pub file: String,
    /// Calls that arrive at this time (RFC 3339) or later get the key; always if not given.
    #[serde(default)]
    pub from: Option<String>,
    /// Calls that arrive before this time (RFC 3339) get the key; without end if not given.
    #[serde(default)]
    pub until: Option<String>,
}

mirror! {
    /// How deviations are found.
    Detectors {
        /// Length of the base window.
        window: Span = Span::seconds(10),
        /// How long after its event time a call may arrive and still be counted.
        lateness: Span = Span::seconds(10),
        /// Time from the first call during which pairs are learned and nothing is reported.
        learning: Span = Span::seconds(86_400),
        /// Pairs kept at most; further ones are counted together and reported.
        max_pairs: u32 = 50_000,
        /// The budget: false findings a day that are acceptable over the whole mesh. Every detector's threshold
        /// follows from it, the number of pairs and the number of tests a day.
        budget: f64 = 0.33,
        /// More or less of the budget for some kinds of findings about some pairs; the last rule that matches counts.
        sensitivity: Vec<SensitivityRule> = Vec::new(),
        /// Time zone of the daily and weekly rhythm: a name of the IANA database, for example `Europe/London`, whose
        /// daylight saving is followed, or a fixed offset such as `+05:30`.
        time_zone: String = "UTC".into(),
        /// A fitted model (`models/<name>/<version>/model.json`) for the `profile` detector.
        model: Option<String> = None,
        /// File of `lapwing feedback`; `feedback.ndjson` below `data_dir` if not given. Read again when it changes.
        feedback: Option<String> = None,
        /// What to learn from when there is no saved state: `archive` replays what was received before, without
        /// publishing again what it finds; `off` learns anew from what comes.
        warm_start: WarmStart = WarmStart::Archive,
        /// Time between two saves of the learned state.
        save_interval: Span = Span::seconds(30),
    }
}

/// What to learn from when there is no saved state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WarmStart {
    /// The archive.
    Archive,
    /// Nothing: learn anew.
    Off,
}

/// How sensitive detection is to some kinds of findings about some pairs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SensitivityRule {
    /// Calling services: a name `namespace/service`, or a pattern with one `*`.
    #[serde(default = "anything")]
    pub source: String,
    /// Called services, in the same way; `*` for findings about a source alone.
    #[serde(default = "anything")]
    pub destination: String,
    /// Kinds of findings, for example `latency_shift`; all if empty.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// How much more of the budget: 1 is as usual, 0.01 a hundredth, 0 turns them off.
    pub factor: f64,
}

fn anything() -> String {
    "*".into()
}

mirror! {
    /// Redacted telemetry in Parquet, one directory per received hour.
    Archive {
        /// Whether to keep an archive.
        enabled: bool = true,
        /// Directory; `archive` below `data_dir` if not given.
        directory: Option<String> = None,
        /// Calls held in memory before a file is written: about the size of the file.
        buffer_size: Size = Size::mib(96),
        /// Time after which a file is closed whatever its size.
        roll_interval: Span = Span::seconds(300),
        /// zstd level, 1 to 19.
        compression_level: i32 = 1,
    }
}

mirror! {
    /// How long the archive is kept. Whole hours are deleted, the oldest first.
    Retention {
        /// Age beyond which an hour is deleted.
        max_age: Span = Span::seconds(30 * 86_400),
        /// Bytes of the whole archive beyond which the oldest hours are deleted.
        max_size: Option<Size> = None,
        /// Time between two checks.
        check_interval: Span = Span::seconds(600),
    }
}

mirror! {
    /// Probes around the pipeline.
    Extensions {
        /// `/livez`, `/readyz`, and `/` for the Collector's probes.
        health_check: Option<Address> = Some(Address { endpoint: "127.0.0.1:13133".into() }),
    }
}

/// An address to listen on, without TLS.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// `host:port`.
    pub endpoint: String,
}

mirror! {
    /// Roles, shutdown and lapwing's own telemetry.
    Service {
        /// Which of the three loops this process runs.
        roles: Vec<Role> = vec![Role::Receive, Role::Detect, Role::Archive],
        /// How long draining may take after SIGTERM.
        shutdown_timeout: Span = Span::seconds(25),
        /// lapwing's own logs and metrics.
        telemetry: Telemetry = Telemetry::default(),
    }
}

/// One of the three loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// OTLP in, redacted, into the log.
    Receive,
    /// The log in, findings out.
    Detect,
    /// The log in, Parquet out.
    Archive,
}

mirror! {
    /// lapwing's own logs and metrics.
    Telemetry {
        /// Logs, on standard error.
        logs: Logs = Logs::default(),
        /// Metrics in Prometheus' text format at `/metrics`; `null` switches them off.
        metrics: Option<Metrics> = Some(Metrics::default()),
    }
}

mirror! {
    /// Logs, on standard error.
    Logs {
        /// `error`, `warn`, `info`, `debug` or `trace`, or a filter such as `info,lapwing_otlp=debug`.
        level: String = "info".into(),
        /// `auto` is text on a terminal and JSON elsewhere.
        encoding: LogEncoding = LogEncoding::Auto,
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words say it")]
pub enum LogEncoding {
    Auto,
    Console,
    Json,
}

mirror! {
    /// The metrics endpoint.
    Metrics {
        /// `host:port`.
        address: String = "127.0.0.1:8888".into(),
    }
}
