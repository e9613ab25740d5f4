//! Which calls to show as evidence: few, chosen in a way that no order of arrival can change.

use std::sync::Arc;

use lapwing_telemetry::{EventTime, Exemplar};
use serde::{Deserialize, Serialize};

/// Calls kept per base window and class.
const PER_WINDOW: usize = 2;
/// Calls kept per pair and class, and shown by a finding.
const PER_PAIR: usize = 5;
/// Number of classes.
const CLASSES: usize = 6;

/// What a call is an example of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Any,
    Slow,
    Error,
    Auth,
    Policy,
    Tls,
}

/// A call kept as an example.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Rank among the calls of a window: the lowest are kept.
    pub(crate) rank: u64,
    pub(crate) started_at: i64,
    pub(crate) trace_id: Option<[u8; 16]>,
    pub(crate) span_id: Option<[u8; 8]>,
    pub(crate) duration_ms: Option<u32>,
    pub(crate) status: Option<i16>,
    /// Place of its operation in the pair's names.
    pub(crate) operation: Option<u16>,
    /// Start of its base window.
    pub(crate) window: i64,
}

/// Examples by class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Exemplars([Vec<Kept>; CLASSES]);

impl Exemplars {
    /// Whether a call of that rank would be kept in a base window.
    pub(crate) fn wants(&self, class: Class, rank: u64) -> bool {
        let kept = &self.0[class as usize];
        kept.len() < PER_WINDOW || kept.last().is_some_and(|last| rank <= last.rank)
    }

    /// Offers a call of a base window. Both sides of a hop have the trace in common: one of them is enough.
    pub(crate) fn offer(&mut self, class: Class, call: Kept) {
        let kept = &mut self.0[class as usize];
        if let Some(same) = kept.iter_mut().find(|k| k.rank == call.rank) {
            if call < *same {
                *same = call;
            }
            return;
        }
        let at = kept.partition_point(|k| *k < call);
        kept.insert(at, call);
        kept.truncate(PER_WINDOW);
    }

    /// Takes in those of a window that has closed; the newest stay.
    pub(crate) fn absorb(&mut self, window: &Exemplars) {
        for (mine, new) in self.0.iter_mut().zip(&window.0) {
            for call in new {
                if !mine.iter().any(|k| k.trace_id.is_some() && k.trace_id == call.trace_id) {
                    mine.insert(0, call.clone());
                }
            }
            mine.truncate(PER_PAIR);
        }
    }

    /// Those of a class from windows in `[start, end)`, oldest first.
    pub(crate) fn shown(&self, class: Class, start: i64, end: i64, names: &[Arc<str>]) -> Vec<Exemplar> {
        let within = |k: &&Kept| (start..end).contains(&k.window);
        let mut kept: Vec<&Kept> = self.0[class as usize].iter().filter(within).collect();
        kept.sort_by_key(|k| (k.started_at, k.rank));
        let show = |k: &Kept| Exemplar {
            trace_id: k.trace_id.as_ref().map(|id| hex(id)),
            span_id: k.span_id.as_ref().map(|id| hex(id)),
            started_at: EventTime(k.started_at),
            duration_ms: k.duration_ms,
            status: k.status,
            operation: k.operation.and_then(|at| names.get(usize::from(at))).map(ToString::to_string),
        };
        kept.into_iter().map(show).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(rank: u64, started_at: i64) -> Kept {
        Kept {
            rank,
            started_at,
            trace_id: Some([rank as u8; 16]),
            span_id: None,
            duration_ms: Some(3),
            status: Some(200),
            operation: Some(0),
            window: 0,
        }
    }

    #[test]
    fn which_calls_are_kept_does_not_depend_on_their_order() {
        let calls: Vec<Kept> = [(5, 1), (3, 9), (3, 2), (8, 1), (1, 7)].map(|(r, s)| call(r, s)).to_vec();
        let keep = |calls: Vec<Kept>| {
            let mut kept = Exemplars::default();
            for c in calls {
                if kept.wants(Class::Any, c.rank) {
                    kept.offer(Class::Any, c);
                }
            }
            kept
        };
        let forward = keep(calls.clone());
        assert_eq!(forward, keep(calls.into_iter().rev().collect()));
        let mut pair = Exemplars::default();
        pair.absorb(&forward);
        let shown = pair.shown(Class::Any, 0, 10, &["GET /a".into()]);
        assert_eq!(shown.iter().map(|e| e.started_at.0).collect::<Vec<_>>(), [2, 7]);
        assert_eq!(shown[1].trace_id.as_deref(), Some("01010101010101010101010101010101"));
        assert_eq!(shown[1].operation.as_deref(), Some("GET /a"));
    }
}
