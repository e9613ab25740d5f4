//! How to decode, and counts of what was decoded.

use std::time::Duration;

/// What one request may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Attributes of one span or log record, its span events and links included; also of one resource and
    /// of one scope. More are dropped and counted. 128 is the limit that OpenTelemetry SDKs keep by default.
    pub max_attributes_per_record: usize,
    /// Bytes of one attribute's name or value; longer ones are cut at a character and counted.
    pub max_value_bytes: usize,
    /// Arrays and lists inside one another; a request that nests deeper is malformed. At most 32.
    pub max_nesting: usize,
    /// Spans or log records of one request; a request with more is malformed.
    pub max_records: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_attributes_per_record: 128,
            max_value_bytes: 16 << 10,
            max_nesting: 16,
            max_records: 100_000,
        }
    }
}

/// How to decode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeSettings {
    /// What one request may hold.
    pub limits: Limits,
    /// Cluster of calls whose telemetry names none, in a service name's alphabet.
    pub default_cluster: String,
    /// A record further ahead of its arrival than this is rejected: its clock is wrong, and one such record
    /// must not move the watermark.
    pub max_ahead: Duration,
    /// A record older than this at its arrival is rejected.
    pub max_age: Duration,
    /// Spans whose callers are remembered, for server spans that do not say theirs: 16 bytes each.
    pub max_callers: usize,
}

impl Default for DecodeSettings {
    fn default() -> DecodeSettings {
        DecodeSettings {
            limits: Limits::default(),
            default_cluster: "default".to_owned(),
            max_ahead: Duration::from_secs(3_600),
            max_age: Duration::from_secs(24 * 3_600),
            max_callers: 100_000,
        }
    }
}

/// What became of a request's spans or log records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// How many were appended.
    pub accepted: u64,
    /// How many were not, for OTLP's `partial_success`.
    pub rejected: u64,
    /// Why not, in words for the sender, without values; empty if none was rejected.
    pub reason: String,
}

/// Counts of what decode did, since it was made. All grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodeStats {
    /// Rows appended, by signal in the order of [`Signal::ALL`]; those that are not calls included.
    pub rows_by_signal: [u64; 4],
    /// Rows that are not of a call between services: internal spans, application logs.
    pub not_calls: u64,
    /// Calls without a source, server spans not counted.
    pub without_source: u64,
    /// Calls without a destination.
    pub without_destination: u64,
    /// Server spans whose caller was found by another record of the same call.
    pub server_spans_joined: u64,
    /// Server spans whose caller was not found; their source is null.
    pub server_spans_unjoined: u64,
    /// Names and values cut to the limit.
    pub values_cut: u64,
    /// Attributes beyond the limit.
    pub attributes_dropped: u64,
    /// Trace or span ids that are neither empty nor of the right length; taken as absent.
    pub ids_invalid: u64,
    /// Records rejected because they have no time.
    pub rejected_without_time: u64,
    /// Records rejected because their time is too far ahead of their arrival.
    pub rejected_ahead: u64,
    /// Records rejected because they are too old.
    pub rejected_old: u64,
    /// Requests that could not be read.
    pub requests_malformed: u64,
}
