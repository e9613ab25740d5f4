//! From a request's bytes to rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lapwing_telemetry::{
    Builders, Checkpoint, Entry, EventTime, Key, SharedAttributes, Signal, calls::event_time,
};

use crate::attributes::Role;
use crate::context::{Known, Resource, Scope};
use crate::derive::{Derived, cluster};
use crate::known_names::NameTable;
use crate::mesh::Mesh;
use crate::names::{Side, is_name};
use crate::record::{Kind, Record, first_bits};
use crate::walk::{self, Contexts};
use crate::{Inventory, json};

/// Which OTLP service a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// `ExportTraceServiceRequest`.
    Traces,
    /// `ExportLogsServiceRequest`.
    Logs,
}

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Protobuf's binary form.
    Protobuf,
    /// OTLP/JSON (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>).
    Json,
}

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

/// A request that cannot be read; nothing of it was appended. *Rejected*: it never will be readable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Malformed {
    /// What is wrong and at which byte, without values.
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

/// Decodes requests, one after another; keeps what it has learned of the mesh from one to the next.
pub struct Decoder {
    settings: DecodeSettings,
    mesh: Mesh,
    pub(crate) resources: Known<Resource>,
    pub(crate) scopes: Known<Scope>,
    names: NameTable,
    derived: Derived,
    /// Number of the last record; see [`Builders::append_like`].
    number: u64,
    shape: Shape,
    stats: DecodeStats,
    /// What OTLP/JSON is translated into.
    translated: Vec<u8>,
}

/// Of the last record, for the next one to be like it.
#[derive(Default)]
struct Shape {
    /// Its resource and its scope.
    shared: [u64; 2],
    /// Places of the attributes that became entries.
    kept: u64,
}

/// Where decoders begin to number records: a builder must not take a record of one for that of another.
static FIRST_NUMBER: AtomicU64 = AtomicU64::new(1);

/// Values may nest this deep at most, whatever the settings say: prost, which reads the same requests
/// elsewhere, stops at 100 messages, and each array costs two.
const MAX_NESTING: usize = 32;

impl Decoder {
    /// Makes a decoder. A `default_cluster` that is not in a service name's alphabet becomes `default`.
    pub fn new(mut settings: DecodeSettings, inventory: Arc<Inventory>) -> Decoder {
        settings.limits.max_nesting = settings.limits.max_nesting.min(MAX_NESTING);
        if !is_name(&settings.default_cluster) {
            "default".clone_into(&mut settings.default_cluster);
        }
        Decoder {
            mesh: Mesh::new(inventory, settings.max_callers),
            settings,
            resources: Known::default(),
            scopes: Known::default(),
            names: NameTable::default(),
            derived: Derived::default(),
            number: FIRST_NUMBER.fetch_add(1 << 40, Ordering::Relaxed),
            shape: Shape::default(),
            stats: DecodeStats::default(),
            translated: Vec::new(),
        }
    }

    /// Uses another inventory from now on.
    pub fn set_inventory(&mut self, inventory: Arc<Inventory>) {
        self.mesh.set_inventory(inventory);
        self.derived.forget();
        self.resources = Known::default();
    }

    /// What it did so far.
    pub fn stats(&self) -> DecodeStats {
        self.stats
    }

    /// Appends the calls of one request to `builders`.
    ///
    /// # Errors
    /// [`Malformed`] if the request cannot be read; then nothing of it was appended.
    pub fn decode(
        &mut self,
        payload: Payload,
        encoding: Encoding,
        body: &[u8],
        received_at: EventTime,
        builders: &mut Builders,
    ) -> Result<Decoded, Malformed> {
        let (checkpoint, before) = (builders.checkpoint(), self.stats);
        let result = match encoding {
            Encoding::Protobuf => self.decode_protobuf(payload, body, received_at, builders, &checkpoint),
            Encoding::Json => {
                let mut translated = std::mem::take(&mut self.translated);
                let result = json::translate(payload, body, &mut translated).and_then(|()| {
                    self.decode_protobuf(payload, &translated, received_at, builders, &checkpoint)
                });
                self.translated = translated;
                result
            }
        };
        result.inspect_err(|_| {
            builders.rollback(&checkpoint);
            self.stats = before;
            self.stats.requests_malformed += 1;
        })
    }

    fn decode_protobuf(
        &mut self,
        payload: Payload,
        body: &[u8],
        received_at: EventTime,
        builders: &mut Builders,
        checkpoint: &Checkpoint,
    ) -> Result<Decoded, Malformed> {
        let before = self.stats;
        let mut batch = Batch::new(self, received_at, builders);
        let mut walked = walk::request(payload, body, &mut batch, Contexts::First);
        if walked.as_ref().is_err_and(walk::is_scattered) {
            builders.rollback(checkpoint);
            self.stats = before;
            batch = Batch::new(self, received_at, builders);
            walked = walk::request(payload, body, &mut batch, Contexts::Scattered);
        }
        let decoded = batch.decoded();
        walked.map(|()| decoded).map_err(|fault| Malformed {
            reason: format!("{} at byte {} of {}", fault.what(), fault.offset_in(body), body.len()),
        })
    }
}

/// One request on its way into the builders.
pub(crate) struct Batch<'d> {
    pub(crate) limits: Limits,
    decoder: &'d mut Decoder,
    builders: &'d mut Builders,
    received_at: EventTime,
    before: DecodeStats,
}

impl<'d> Batch<'d> {
    pub(crate) fn new(
        decoder: &'d mut Decoder,
        received_at: EventTime,
        builders: &'d mut Builders,
    ) -> Batch<'d> {
        let (limits, before) = (decoder.settings.limits.clone(), decoder.stats);
        Batch { limits, decoder, builders, received_at, before }
    }

    pub(crate) fn names(&mut self) -> &mut NameTable {
        &mut self.decoder.names
    }

    pub(crate) fn stats(&mut self) -> &mut DecodeStats {
        &mut self.decoder.stats
    }

    /// The resource with these bytes, if it was read before.
    pub(crate) fn known_resource(&self, bytes: &[u8]) -> Option<Arc<Resource>> {
        self.decoder.resources.get(bytes)
    }

    /// Reads a resource whose attributes are those of `record`.
    pub(crate) fn resource(&mut self, bytes: &[u8], record: &Record<'_>) -> Arc<Resource> {
        let resource = Resource::new(record, &self.decoder.mesh.inventory);
        self.decoder.resources.add(bytes, resource)
    }

    /// The scope with these bytes, if it was read before.
    pub(crate) fn known_scope(&self, bytes: &[u8]) -> Option<Arc<Scope>> {
        self.decoder.scopes.get(bytes)
    }

    /// Keeps a scope that was read.
    pub(crate) fn scope(&mut self, bytes: &[u8], scope: Scope) -> Arc<Scope> {
        self.decoder.scopes.add(bytes, scope)
    }

    /// Appends the call of one complete record, or rejects it.
    pub(crate) fn append(&mut self, record: &Record<'_>, resource: &Resource, scope: &Scope) {
        let Decoder { derived, mesh, names, settings, stats, number, shape, .. } = &mut *self.decoder;
        *number += 1;
        derived.read(record, resource, mesh);
        // Of a rejected record too: the next one is read as what differs from it.
        let kept = derived.kept_places(record);
        if let Some(rejected) = rejection(derived, self.received_at, settings, stats) {
            *rejected += 1;
            return;
        }
        count(derived, record, stats);
        let cluster = cluster(record, resource, mesh, &settings.default_cluster);
        let call = derived.call(record, self.received_at, cluster);
        let shared = [&resource.attributes, &scope.attributes];
        let before = std::mem::replace(shape, Shape { shared: shared.map(SharedAttributes::id), kept });
        if record.changes().same_names && before.kept == kept {
            let changed = Places(record.changes().values & kept).map(|place| {
                let rank = (kept & first_bits(place)).count_ones() as usize;
                (rank, record.attributes()[place].value.get(&record.arena))
            });
            let others = (before.shared != shape.shared).then_some(&shared[..]);
            if self.builders.append_like(&call, *number, derived.same, others, changed) {
                return;
            }
        }
        let beyond = (64..record.len()).filter(|place| derived.keeps_beyond(record, *place));
        let entries = Places(kept).chain(beyond).map(|place| entry(record, place, names));
        self.builders.append_with(&call, *number, &shared, entries);
    }

    /// What became of the records so far.
    pub(crate) fn decoded(&self) -> Decoded {
        let (before, now) = (&self.before, &self.decoder.stats);
        let rows = |stats: &DecodeStats| stats.rows_by_signal.iter().sum::<u64>();
        let settings = &self.decoder.settings;
        let reasons = [
            (now.rejected_without_time - before.rejected_without_time, "without a time".to_owned()),
            (
                now.rejected_ahead - before.rejected_ahead,
                format!("more than {} s ahead of arrival", settings.max_ahead.as_secs()),
            ),
            (
                now.rejected_old - before.rejected_old,
                format!("more than {} s old", settings.max_age.as_secs()),
            ),
        ];
        let said =
            reasons.iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} {why}"));
        Decoded {
            accepted: rows(now) - rows(before),
            rejected: reasons.iter().map(|(count, _)| count).sum(),
            reason: said.collect::<Vec<_>>().join(", "),
        }
    }
}

/// The places whose bits are set, in order.
struct Places(u64);

impl Iterator for Places {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let place = self.0.trailing_zeros() as usize;
        self.0 &= self.0.wrapping_sub(1);
        (place < 64).then_some(place)
    }
}

#[inline]
fn entry<'r>(record: &'r Record<'_>, place: usize, names: &'r NameTable) -> Entry<'r> {
    let attribute = &record.attributes()[place];
    let key = match names.get(attribute.id) {
        Some(name) => Key::Known(name),
        None => Key::Text(attribute.key.get(&record.arena)),
    };
    Entry { key, value: attribute.value.get(&record.arena) }
}

/// The count of the reason for which a record is rejected, if it is.
fn rejection<'s>(
    derived: &Derived,
    received_at: EventTime,
    settings: &DecodeSettings,
    stats: &'s mut DecodeStats,
) -> Option<&'s mut u64> {
    let (started_at, ended_at) =
        (derived.started_at(), event_time(derived.started_at().0, derived.duration_ns()));
    if started_at == EventTime::MIN {
        Some(&mut stats.rejected_without_time)
    } else if started_at.max(ended_at) > received_at.plus(settings.max_ahead) {
        Some(&mut stats.rejected_ahead)
    } else if ended_at < received_at.minus(settings.max_age) {
        Some(&mut stats.rejected_old)
    } else {
        None
    }
}

fn count(derived: &Derived, record: &Record<'_>, stats: &mut DecodeStats) {
    let signal = Signal::ALL.iter().position(|s| *s == derived.pair.signal).unwrap_or(0);
    stats.rows_by_signal[signal] += 1;
    let ids = [(record.trace_id, 16), (record.span_id, 8), (record.parent_span_id, 8)];
    stats.ids_invalid += ids.iter().filter(|(id, len)| !id.is_empty() && id.len() != *len).count() as u64;
    let Some(side) = derived.pair.side else {
        stats.not_calls += 1;
        return;
    };
    let has_source = derived.pair.source.is_some();
    match (record.kind, side) {
        (Kind::Span(_), Side::Server) if has_source => stats.server_spans_joined += 1,
        (Kind::Span(_), Side::Server) => stats.server_spans_unjoined += 1,
        _ => stats.without_source += u64::from(!has_source),
    }
    stats.without_destination += u64::from(derived.pair.destination.is_none());
}

/// Whether a record's attributes are those of an access log, so that its body need not be read.
pub(crate) fn has_access_log_attributes(record: &Record<'_>) -> bool {
    [Role::UpstreamCluster, Role::Flags, Role::DownstreamFailure, Role::ClientId, Role::ClientAddress]
        .into_iter()
        .any(|role| record.has(role))
}
