//! What a pair tells the judgement of sources: that its source reached out in a way worth counting.

use lapwing_telemetry::{Exemplar, Pair};

use crate::detectors::novelty;
use crate::exemplars::Class;
use crate::pair_state::{PairState, Pending};

/// A base window of a pair that is not yet familiar, that was denied, or that showed an identity or
/// operation new to it.
/// Ordinary windows of ordinary pairs say nothing, so these are few.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Contact {
    pub(crate) pair: Pair,
    /// Start of the window.
    pub(crate) start: i64,
    pub(crate) calls: u64,
    /// Calls that a policy denied.
    pub(crate) denied: u64,
    /// Whether the pair is hardly ever seen.
    pub(crate) strange: bool,
    /// Whether it was never seen before.
    pub(crate) first: bool,
    /// Identities that the pair had not shown, hashed.
    pub(crate) identities: Vec<u64>,
    /// Operations that it had not called, hashed.
    pub(crate) operations: Vec<u32>,
    /// Whether one of them is a discovery ([`operations::discovered`]).
    pub(crate) discovers: bool,
    pub(crate) exemplar: Option<Exemplar>,
}

impl Contact {
    #[cfg(test)]
    pub(crate) fn example(pair: Pair) -> Contact {
        Contact {
            pair,
            start: 0,
            calls: 1,
            denied: 0,
            strange: true,
            first: true,
            identities: Vec::new(),
            operations: Vec::new(),
            discovers: false,
            exemplar: None,
        }
    }

    /// The contact that a window is; `None` for an ordinary one. The window is not yet part of the state.
    pub(crate) fn of(pair: &Pair, state: &PairState, window: &Pending, discovers: bool) -> Option<Contact> {
        let counts = &window.counts;
        let strange = !novelty::is_familiar(state);
        let denied = counts.most(|c| c.policy);
        let identities: Vec<u64> =
            counts.identities.iter().map(|(id, _)| *id).filter(|id| state.lacks(*id)).collect();
        let first = state.hours_seen == 0 && state.first_seen == window.start;
        let called = state.reported(counts).map_or(&[][..], |c| &c.operations);
        let operations: Vec<u32> =
            called.iter().map(|(o, _)| *o).filter(|o| state.operations.lacks(*o)).collect();
        let tells = strange || denied > 0 || !identities.is_empty() || !operations.is_empty();
        tells.then(|| Contact {
            pair: pair.clone(),
            start: window.start,
            calls: counts.most(|c| c.calls),
            denied,
            strange,
            first,
            identities,
            operations,
            discovers,
            exemplar: window.exemplars.shown(Class::Any, i64::MIN, i64::MAX, &state.names).into_iter().next(),
        })
    }
}
