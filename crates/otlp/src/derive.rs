//! Works out from a record what call it tells of.
//!
//! The rules, and why they are so, are in the module documentation of [`crate`] and at each function.

mod answer;
mod pair;

use lapwing_telemetry::{CANARY_CLUSTER, Call, EventTime, Same};

use self::answer::{Request, Response, Sizes};
use self::pair::Pair;
use crate::attributes::Role;
use crate::context::Resource;
use crate::mesh::Mesh;
use crate::names::is_name;
use crate::record::{Kind, Record, first_bits};

/// What a record says of its call; reused from record to record, and what the next one says as well is kept.
#[derive(Default)]
pub(crate) struct Derived {
    pub(crate) pair: Pair,
    request: Request,
    sizes: Sizes,
    response: Response,
    moment: Moment,
    /// Roles whose first attribute is held by a column whole, as bits, and the places of those attributes.
    held: (u64, u64),
    /// What the last record was, beside its attributes.
    basis: Option<Basis>,
    /// What was kept.
    pub(crate) same: Same,
}

/// What a record is beside its attributes, as far as it matters to what they mean.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Basis {
    kind: Kind,
    status_code: i32,
    resource: u64,
}

/// Which call, and when.
#[derive(Default)]
struct Moment {
    ids: Ids,
    started_at: EventTime,
    duration_ns: Option<i64>,
    held: u64,
}

/// W3C ids, `None` where absent, of a wrong length, or all zero.
#[derive(Clone, Copy, Default)]
struct Ids {
    trace: Option<[u8; 16]>,
    span: Option<[u8; 8]>,
    parent: Option<[u8; 8]>,
}

impl Derived {
    /// Reads `record`, of `resource`, into this. Takes and gives callers in `mesh`.
    pub(crate) fn read(&mut self, record: &Record<'_>, resource: &Resource, mesh: &mut Mesh) {
        let Record { kind, status_code, .. } = *record;
        let basis = Some(Basis { kind, status_code, resource: resource.attributes.id() });
        let is_alike = std::mem::replace(&mut self.basis, basis) == basis;
        let changes = record.changes();
        let changed = if is_alike && changes.same_names { changes.roles } else { !0 };

        self.moment = Moment::read(record);
        let side = self.pair.side;
        self.same.pair = self.pair.is_lasting && changed & Pair::ROLES == 0;
        if self.same.pair {
            self.pair.read_again(record, &self.moment.ids, mesh);
        } else {
            self.pair = Pair::read(record, &self.moment.ids, resource, mesh);
        }
        let is_of_side = side == self.pair.side;
        self.same.response = is_of_side && changed & Response::ROLES == 0;
        self.sizes = Sizes::default();
        if !self.same.response {
            self.response.clear();
        }
        let Some(side) = self.pair.side else {
            self.same.request = is_of_side;
            self.request.clear();
            return;
        };
        self.sizes = Sizes::read(record);
        self.same.request = !self.request.read(record, if is_of_side { changed } else { !0 });
        if !self.same.response {
            self.response.read(record, side);
        }
    }

    /// Forgets the last record.
    pub(crate) fn forget(&mut self) {
        self.basis = None;
    }

    /// The row, borrowed from here and from the record that was read.
    pub(crate) fn call<'r>(
        &'r self,
        record: &'r Record<'_>,
        received_at: EventTime,
        cluster: &'r str,
    ) -> Call<'r> {
        let some = |text: &'r str| (!text.is_empty()).then_some(text);
        let Derived { pair, request, sizes, response, moment, .. } = self;
        Call {
            received_at,
            started_at: moment.started_at,
            duration_ns: moment.duration_ns,
            signal: pair.signal,
            cluster,
            source: pair.source.as_deref(),
            destination: pair.destination.as_deref(),
            source_identity: pair.source_identity.and_then(|role| record.get(role)),
            destination_identity: pair.destination_identity.and_then(|role| record.get(role)),
            operation: some(&request.operation),
            method: if request.has_method { record.get(Role::Method) } else { None },
            path: some(&request.path),
            status: response.status,
            outcome: response.outcome,
            bytes_in: sizes.bytes_in,
            bytes_out: sizes.bytes_out,
            authn: response.authn,
            authz: some(&response.authz),
            tls: some(&response.tls),
            trace_id: moment.ids.trace.as_ref(),
            span_id: moment.ids.span.as_ref(),
            parent_span_id: moment.ids.parent.as_ref(),
            flags: if pair.side.is_some() { record.get(Role::Flags) } else { None },
        }
    }

    /// Places of the attributes that no column holds, as bits, as far as the 64th. Of a proxy's record, those
    /// that say nothing (`-`) are left out.
    pub(crate) fn kept_places(&mut self, record: &Record<'_>) -> u64 {
        let silent = if self.pair.side.is_some() { record.silent_places() } else { 0 };
        first_bits(record.len()) & !self.held_places(record) & !silent
    }

    /// Whether the attribute at `place`, beyond the 64th, is kept: no column holds it, whatever it is.
    pub(crate) fn keeps_beyond(&self, record: &Record<'_>, place: usize) -> bool {
        self.pair.side.is_none() || record.attributes()[place].value.get(&record.arena) != "-"
    }

    /// Places of the attributes that are held by a column whole, as bits. An attribute beyond the 64th is
    /// kept even if one is.
    fn held_places(&mut self, record: &Record<'_>) -> u64 {
        let Derived { pair, request, sizes, response, moment, .. } = &*self;
        let held = pair.held | request.held | sizes.held | response.held | moment.held;
        if record.changes().same_names && self.held.0 == held {
            return self.held.1;
        }
        let (mut roles, mut places) = (held, 0_u64);
        while roles != 0 {
            if let Some(place @ ..64) = record.place(roles.trailing_zeros() as usize) {
                places |= 1 << place;
            }
            roles &= roles - 1;
        }
        self.held = (held, places);
        places
    }

    pub(crate) fn started_at(&self) -> EventTime {
        self.moment.started_at
    }

    pub(crate) fn duration_ns(&self) -> Option<i64> {
        self.moment.duration_ns
    }
}

impl Moment {
    fn read(record: &Record<'_>) -> Moment {
        let mut moment = Moment::default();
        moment.read_ids(record);
        moment.read_times(record);
        moment
    }

    fn hold(&mut self, role: Role) {
        self.held |= 1 << role as u32;
    }

    /// Ids from the record's own fields, else from its `traceparent`.
    fn read_ids(&mut self, record: &Record<'_>) {
        let mut ids = Ids {
            trace: record.trace_id.try_into().ok().filter(|id| *id != [0; 16]),
            span: record.span_id.try_into().ok().filter(|id| *id != [0; 8]),
            parent: record.parent_span_id.try_into().ok().filter(|id| *id != [0; 8]),
        };
        if let Some((trace, span)) = record.get(Role::Traceparent).and_then(crate::traceparent::read) {
            ids.trace = ids.trace.or(Some(trace));
            ids.span = ids.span.or(Some(span));
            if (ids.trace, ids.span) == (Some(trace), Some(span)) {
                self.hold(Role::Traceparent);
            }
        }
        self.ids = ids;
    }

    /// When the call began and how long it took. A log record's own time is when the request began; one
    /// without a time may say it in an attribute; the last resort is when it was collected.
    fn read_times(&mut self, record: &Record<'_>) {
        self.started_at = EventTime::from_unix_nanos(record.start_ns);
        match record.kind {
            Kind::Span(_) => {
                let took = record.end_ns.checked_sub(record.start_ns).filter(|_| record.end_ns > 0);
                // One that does not fit ends far in the future, and the record is rejected for it.
                self.duration_ns = took.map(|ns| i64::try_from(ns).unwrap_or(i64::MAX));
            }
            Kind::Log => {
                if record.start_ns > 0 {
                    self.hold(Role::StartTime);
                } else {
                    let written = record.get(Role::StartTime).and_then(EventTime::parse_rfc3339);
                    self.started_at = written.unwrap_or(EventTime::from_unix_nanos(record.observed_ns));
                }
                let nanos = |role, unit: i64| number(record.get(role)).map(|n| n.saturating_mul(unit));
                if let Some(ns) = nanos(Role::DurationNs, 1) {
                    self.duration_ns = Some(ns);
                    self.hold(Role::DurationNs);
                } else if let Some(ns) = nanos(Role::DurationMs, 1_000_000) {
                    self.duration_ns = Some(ns);
                    self.hold(Role::DurationMs);
                }
            }
        }
    }
}

/// The cluster that a record belongs to: its resource's, the one that Istio names, the inventory's, or the
/// configured default.
pub(crate) fn cluster<'r>(
    record: &'r Record<'_>,
    resource: &'r Resource,
    mesh: &'r Mesh,
    default: &'r str,
) -> &'r str {
    let istio = || record.get(Role::IstioCluster).filter(|name| is_name(name));
    let named = resource.cluster.as_deref().or_else(istio);
    let named = named.or(mesh.inventory.cluster.as_deref().filter(|name| is_name(name)));
    // Canaries are not judged: a sender who names their cluster must not escape judgement. Our own take it as
    // their decoder's default.
    named.filter(|name| *name != CANARY_CLUSTER).unwrap_or(default)
}

/// A set of roles.
const fn bits(roles: &[Role]) -> u64 {
    let (mut bits, mut i) = (0, 0);
    while i < roles.len() {
        bits |= 1 << roles[i] as u32;
        i += 1;
    }
    bits
}

/// A whole number that is not negative.
fn number(text: Option<&str>) -> Option<i64> {
    text?.parse().ok().filter(|n| *n >= 0)
}
