//! Reads the columns of a frame: dictionary words are understood once, rows cost a few look-ups each.

use arrow::array::{Array, FixedSizeBinaryArray, Int16Array, Int64Array};
use lapwing_telemetry::calls::{Attributes, Words, event_time, signal_of};
use lapwing_telemetry::{Authn, Calls, Outcome, Pair, Signal};

use crate::counts::Counts;
use crate::exemplars::{Class, Exemplars, Kept};
use crate::hash::{fnv, mix};

/// The columns that windows are made of.
pub(crate) struct Frame<'a> {
    pub(crate) received_at: &'a [i64],
    started_at: &'a [i64],
    duration_ns: &'a Int64Array,
    pub(crate) cluster: Words<'a>,
    pub(crate) source: Words<'a>,
    pub(crate) destination: Words<'a>,
    operation: Meaning<'a, u32>,
    status: &'a Int16Array,
    bytes_in: &'a Int64Array,
    bytes_out: &'a Int64Array,
    trace_id: &'a FixedSizeBinaryArray,
    span_id: &'a FixedSizeBinaryArray,
    signal: Meaning<'a, Signal>,
    outcome: Meaning<'a, Outcome>,
    /// Whether the token was refused.
    authn: Meaning<'a, bool>,
    /// Whether a policy denied the call.
    authz: Meaning<'a, bool>,
    tls: Meaning<'a, Tls>,
    identity: Meaning<'a, u64>,
    instance: Instance<'a>,
    attempts: Attempts<'a>,
}

/// A column of words, and what each distinct word means.
struct Meaning<'a, T> {
    words: Words<'a>,
    meanings: Vec<T>,
}

impl<'a, T: Copy> Meaning<'a, T> {
    fn new(words: Words<'a>, of: impl Fn(&str) -> T) -> Meaning<'a, T> {
        let meanings = (0..words.values.len()).map(|id| of(words.values.value(id))).collect();
        Meaning { words, meanings }
    }

    fn get(&self, row: usize) -> Option<T> {
        self.words.id(row).map(|id| self.meanings[id as usize])
    }
}

/// Which instance of the called service answered: the pod that its own record comes from.
struct Instance<'a> {
    attributes: Attributes<'a>,
    /// Numbers of the keys that name it, best first.
    keys: Vec<u32>,
}

impl<'a> Instance<'a> {
    /// Attributes that name the pod of the reporting proxy: of Kubernetes (OpenTelemetry semantic conventions,
    /// resource), and of Envoy's node, in access logs and in spans.
    const NAMES: [&'static str; 3] = ["resource.k8s.pod.name", "resource.node_name", "node_id"];

    fn new(attributes: Attributes<'a>) -> Instance<'a> {
        let values = attributes.keys.values;
        let number = |name: &&str| (0..values.len()).find(|i| values.value(*i) == *name);
        let keys = Self::NAMES.iter().filter_map(number).map(|i| i as u32).collect();
        Instance { attributes, keys }
    }

    fn get(&self, row: usize) -> Option<u64> {
        let named = |key: &u32| self.attributes.by_number(row, *key);
        self.keys.iter().find_map(named).map(|name| fnv(&[pod(name).as_bytes()]))
    }
}

/// How often a call was tried again.
struct Attempts<'a> {
    attributes: Attributes<'a>,
    /// Numbers of the keys that tell, and how many of what they count is the first attempt.
    keys: Vec<(u32, u64)>,
}

impl<'a> Attempts<'a> {
    /// Envoy's number of attempts (`%UPSTREAM_REQUEST_ATTEMPT_COUNT%`, the first included), and the number of times that
    /// a request was sent again (OpenTelemetry semantic conventions, HTTP spans).
    const NAMES: [(&'static str, u64); 2] =
        [("upstream_request_attempt_count", 1), ("http.request.resend_count", 0)];
    /// More in one call is a broken record.
    const MAX: u64 = 1_000;

    fn new(attributes: Attributes<'a>) -> Attempts<'a> {
        let values = attributes.keys.values;
        let number = |name: &str| (0..values.len()).find(|i| values.value(*i) == name);
        let keys =
            Self::NAMES.iter().filter_map(|(name, first)| Some((number(name)? as u32, *first))).collect();
        Attempts { attributes, keys }
    }

    fn retries(&self, row: usize) -> u64 {
        let told = |(key, first): &(u32, u64)| {
            let n: u64 = self.attributes.by_number(row, *key)?.parse().ok()?;
            Some(n.saturating_sub(*first).min(Self::MAX))
        };
        self.keys.iter().find_map(told).unwrap_or(0)
    }
}

/// The pod in the name of a node, `sidecar~address~pod.namespace~domain` (Istio), so that logs and spans of one
/// instance agree; other names as they are.
fn pod(name: &str) -> &str {
    let part = name.split('~').nth(2);
    part.and_then(|part| part.rsplit_once('.')).map_or(name, |(pod, _)| pod)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tls {
    Encrypted,
    Plaintext,
    Failed,
}

/// A row, understood.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    row: usize,
    signal: Signal,
    started_at: i64,
    duration_ns: Option<i64>,
    /// When it counts: its end, or its arrival should its sender's clock be ahead of the door's.
    pub(crate) at: i64,
    outcome: Outcome,
    auth: bool,
    policy: bool,
    tls: Option<Tls>,
}

impl<'a> Frame<'a> {
    pub(crate) fn new(calls: &'a Calls) -> Frame<'a> {
        let columns = calls.columns();
        Frame {
            received_at: columns.received_at(),
            started_at: columns.started_at(),
            duration_ns: columns.duration_ns(),
            cluster: columns.cluster(),
            source: columns.source(),
            destination: columns.destination(),
            operation: Meaning::new(columns.operation(), crate::detectors::operations::hash),
            status: columns.status(),
            bytes_in: columns.bytes_in(),
            bytes_out: columns.bytes_out(),
            trace_id: columns.trace_id(),
            span_id: columns.span_id(),
            signal: Meaning::new(columns.signal(), signal_of),
            outcome: Meaning::new(columns.outcome(), |w| Outcome::parse(w).unwrap_or(Outcome::Unknown)),
            authn: Meaning::new(columns.authn(), |w| w != Authn::Ok.as_str()),
            authz: Meaning::new(columns.authz(), |w| w == "denied" || w.starts_with("denied:")),
            tls: Meaning::new(columns.tls(), |w| match w {
                "plaintext" => Tls::Plaintext,
                w if w.starts_with("failed") => Tls::Failed,
                _ => Tls::Encrypted,
            }),
            identity: Meaning::new(columns.source_identity(), |w| fnv(&[w.as_bytes()])),
            instance: Instance::new(columns.attributes()),
            attempts: Attempts::new(columns.attributes()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.received_at.len()
    }

    pub(crate) fn row(&self, row: usize) -> Row {
        let duration_ns = self.duration_ns.is_valid(row).then(|| self.duration_ns.value(row).max(0));
        Row {
            row,
            signal: self.signal.get(row).unwrap_or(Signal::SpanServer),
            started_at: self.started_at[row],
            duration_ns,
            at: event_time(self.started_at[row], duration_ns).0.min(self.received_at[row]),
            outcome: self.outcome.get(row).unwrap_or(Outcome::Unknown),
            auth: self.authn.get(row).unwrap_or(false),
            policy: self.authz.get(row).unwrap_or(false),
            tls: self.tls.get(row),
        }
    }

    /// The pair of a row; its parts are empty where the row has none.
    pub(crate) fn pair(&self, row: Row) -> Pair {
        let part = |words: &Words<'a>| words.get(row.row).unwrap_or("");
        Pair::new(part(&self.cluster), part(&self.source), part(&self.destination))
    }

    /// Counts a row in its base window, which starts at `window`. `name` finds or makes the place of an
    /// operation's name in the pair's list; it is asked only for calls that are kept as examples.
    pub(crate) fn count(
        &self,
        row: Row,
        window: i64,
        counts: &mut Counts,
        exemplars: &mut Exemplars,
        mut name: impl FnMut(&str) -> Option<u16>,
    ) {
        let tls_failed = row.tls == Some(Tls::Failed);
        let refused = row.auth || row.policy || tls_failed;
        let error = !refused && matches!(row.outcome, Outcome::ServerError | Outcome::Refused);
        let answered = matches!(row.outcome, Outcome::Ok | Outcome::Unknown) && !refused;
        let duration_us = row.duration_ns.map(|ns| ns as u64 / 1_000);
        counts.seen_at(row.at);
        let to = counts.signal_mut(row.signal);
        to.calls += 1;
        to.retries += self.attempts.retries(row.row);
        if let Some(operation) = self.operation.get(row.row) {
            to.operation(operation);
        }
        to.errors += u64::from(error);
        to.client_errors += u64::from(row.outcome == Outcome::ClientError && !refused);
        to.auth += u64::from(row.auth);
        to.policy += u64::from(row.policy);
        to.tls += u64::from(tls_failed);
        to.plaintext += u64::from(row.tls == Some(Tls::Plaintext));
        to.encrypted += u64::from(row.tls == Some(Tls::Encrypted));
        if let Some(us) = duration_us.filter(|_| answered) {
            to.latency.record(us);
        }
        if self.bytes_out.is_valid(row.row) || self.bytes_in.is_valid(row.row) {
            let size = |column: &Int64Array| {
                if column.is_valid(row.row) { column.value(row.row).max(0) as u64 } else { 0 }
            };
            let (request, response) = (size(self.bytes_in), size(self.bytes_out));
            to.bytes_in = to.bytes_in.saturating_add(request);
            to.bytes_out = to.bytes_out.saturating_add(response);
            to.sizes[0].record(request);
            to.sizes[1].record(response);
            to.sized += 1;
        }
        if let Some(identity) = self.identity.get(row.row) {
            counts.identity(identity, 1);
        }
        if matches!(row.signal, Signal::LogServer | Signal::SpanServer)
            && let Some(instance) = self.instance.get(row.row)
        {
            counts.instance(instance);
        }
        let rank = self.rank(row);
        let slow = u64::MAX - duration_us.unwrap_or(0);
        let classes = [
            (Class::Any, true, rank),
            (Class::Slow, answered && duration_us.is_some(), slow),
            (Class::Error, error, rank),
            (Class::Auth, row.auth, rank),
            (Class::Policy, row.policy, rank),
            (Class::Tls, tls_failed || row.tls == Some(Tls::Plaintext), rank),
        ];
        for (class, _, rank) in classes.into_iter().filter(|(_, is, _)| *is) {
            if exemplars.wants(class, rank) {
                let operation = self.operation.words.get(row.row).and_then(&mut name);
                exemplars.offer(class, self.kept(row, rank, window, operation));
            }
        }
    }

    /// A rank that every record of a call has in common, and that says nothing of the call.
    fn rank(&self, row: Row) -> u64 {
        let of = |ids: &FixedSizeBinaryArray| {
            ids.is_valid(row.row).then(|| ids.value(row.row)).and_then(|id| id.first_chunk::<8>().copied())
        };
        let bits = of(self.trace_id).or_else(|| of(self.span_id)).map(u64::from_le_bytes);
        mix(bits.unwrap_or(row.started_at as u64))
    }

    fn kept(&self, row: Row, rank: u64, window: i64, operation: Option<u16>) -> Kept {
        let id = |ids: &'a FixedSizeBinaryArray| ids.is_valid(row.row).then(|| ids.value(row.row));
        Kept {
            rank,
            started_at: row.started_at,
            trace_id: id(self.trace_id).and_then(|id| id.try_into().ok()),
            span_id: id(self.span_id).and_then(|id| id.try_into().ok()),
            duration_ms: row.duration_ns.map(|ns| u32::try_from(ns / 1_000_000).unwrap_or(u32::MAX)),
            status: self.status.is_valid(row.row).then(|| self.status.value(row.row)),
            operation,
            window,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_one_name_in_logs_and_in_spans() {
        let check = |name, expect| assert_eq!(pod(name), expect);
        check("cart-v1-5d8f-n4v7t", "cart-v1-5d8f-n4v7t");
        check("sidecar~127.31.1.12~cart-v1-5d8f-n4v7t.shop~shop.svc.cluster.local", "cart-v1-5d8f-n4v7t");
        check("router~10.0.0.1~", "router~10.0.0.1~");
    }
}
