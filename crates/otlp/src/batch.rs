//! One request on its way into the builders.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lapwing_telemetry::{Builders, Entry, EventTime, Key, SharedAttributes, Signal, calls::event_time};

use crate::Inventory;
use crate::attributes::Role;
use crate::context::{Known, Resource, Scope};
use crate::derive::{Derived, cluster};
use crate::known_names::NameTable;
use crate::mesh::Mesh;
use crate::names::Side;
use crate::record::{Kind, Record, first_bits};
use crate::settings::{DecodeSettings, DecodeStats, Decoded, Limits};

/// What a decoder has learned, from one request to the next.
pub(crate) struct Learned {
    pub(crate) settings: DecodeSettings,
    pub(crate) resources: Known<Resource>,
    pub(crate) scopes: Known<Scope>,
    pub(crate) stats: DecodeStats,
    mesh: Mesh,
    names: NameTable,
    derived: Derived,
    /// Number of the last record; see [`Builders::append_like`].
    number: u64,
    shape: Shape,
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

impl Learned {
    pub(crate) fn new(settings: DecodeSettings, inventory: Arc<Inventory>) -> Learned {
        Learned {
            mesh: Mesh::new(inventory, settings.max_callers),
            settings,
            resources: Known::default(),
            scopes: Known::default(),
            names: NameTable::default(),
            derived: Derived::default(),
            number: FIRST_NUMBER.fetch_add(1 << 40, Ordering::Relaxed),
            shape: Shape::default(),
            stats: DecodeStats::default(),
        }
    }

    pub(crate) fn set_inventory(&mut self, inventory: Arc<Inventory>) {
        self.mesh.set_inventory(inventory);
        self.derived.forget();
        self.resources = Known::default();
    }
}

/// One request on its way into the builders.
pub(crate) struct Batch<'d> {
    pub(crate) limits: Limits,
    learned: &'d mut Learned,
    builders: &'d mut Builders,
    received_at: EventTime,
    before: DecodeStats,
}

impl<'d> Batch<'d> {
    pub(crate) fn new(
        learned: &'d mut Learned,
        received_at: EventTime,
        builders: &'d mut Builders,
    ) -> Batch<'d> {
        let (limits, before) = (learned.settings.limits.clone(), learned.stats);
        Batch { limits, learned, builders, received_at, before }
    }

    pub(crate) fn names(&mut self) -> &mut NameTable {
        &mut self.learned.names
    }

    pub(crate) fn stats(&mut self) -> &mut DecodeStats {
        &mut self.learned.stats
    }

    /// The resource with these bytes, if it was read before.
    pub(crate) fn known_resource(&self, bytes: &[u8]) -> Option<Arc<Resource>> {
        self.learned.resources.get(bytes)
    }

    /// Reads a resource whose attributes are those of `record`.
    pub(crate) fn resource(&mut self, bytes: &[u8], record: &Record<'_>) -> Arc<Resource> {
        let resource = Resource::new(record, &self.learned.mesh.inventory);
        self.learned.resources.add(bytes, resource)
    }

    /// The scope with these bytes, if it was read before.
    pub(crate) fn known_scope(&self, bytes: &[u8]) -> Option<Arc<Scope>> {
        self.learned.scopes.get(bytes)
    }

    /// Keeps a scope that was read.
    pub(crate) fn scope(&mut self, bytes: &[u8], scope: Scope) -> Arc<Scope> {
        self.learned.scopes.add(bytes, scope)
    }

    /// Appends the call of one complete record, or rejects it.
    pub(crate) fn append(&mut self, record: &Record<'_>, resource: &Resource, scope: &Scope) {
        let Learned { derived, mesh, names, settings, stats, number, shape, .. } = &mut *self.learned;
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
        let (before, now) = (&self.before, &self.learned.stats);
        let rows = |stats: &DecodeStats| stats.rows_by_signal.iter().sum::<u64>();
        let settings = &self.learned.settings;
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
