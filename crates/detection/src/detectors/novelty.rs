//! Pairs that were never seen, or so rarely that coming back is as strange.

use lapwing_telemetry::{FindingKind, Pair, Severity};

use super::Case;
use crate::claim::Claim;
use crate::exemplars::Class;
use crate::grid::{BASE, HOUR};
use crate::pair_state::PairState;
use crate::structure::namespace;

/// Hours with calls after which a pair is familiar.
const FAMILIAR_HOURS: u32 = 6;
/// Silence after which an unfamiliar pair is new again.
const FORGET: i64 = 6 * HOUR;

/// Whether a pair is part of what is usual: it was there while lapwing learned, or came in several hours.
pub(crate) fn is_familiar(state: &PairState) -> bool {
    state.adopted || state.hours_seen >= FAMILIAR_HOURS
}

/// Whether source and destination lie in different namespaces.
pub(crate) fn crosses(pair: &Pair) -> bool {
    namespace(&pair.source) != namespace(&pair.destination)
}

/// Claims a new pair from its first window on: one call is enough.
///
/// The probability is that of the rule of succession (Laplace): after so many hours without the pair, the
/// chance that the next hour has it. What surprises is the structure: a pair inside a namespace least, one between
/// namespaces that have to do with each other more, and one between namespaces that never had is a kind of its own,
/// `cross_namespace`, because it breaks a boundary that teams and policies go by.
pub(crate) fn judge(case: &Case<'_>) -> Option<Claim> {
    let state = case.state;
    let silent = case.start() - state.last_seen;
    let first = state.hours_seen == 0 && state.first_seen == case.start();
    if case.level != BASE || is_familiar(state) || !(first || silent >= FORGET) {
        return None;
    }
    let crosses = crosses(case.pair);
    let is_path = crosses && !case.shared.structure.has_path(case.pair);
    let denied = case.counts.most(|c| c.policy) > 0;
    let calls = case.counts.most(|c| c.calls);
    let before = if first { case.watched_hours } else { silent as f64 / HOUR as f64 };
    let since =
        if first { "before".to_owned() } else { format!("for {before:.0} h, and hardly ever before") };
    Some(Claim {
        kind: if is_path { FindingKind::CrossNamespace } else { FindingKind::NewPair },
        detector: "novelty",
        severity: match (denied, crosses) {
            (true, _) => Severity::High,
            (_, true) => Severity::Medium,
            _ => Severity::Low,
        },
        p: 1.0 / (before.max(0.0) + 2.0),
        confidence: (case.watched_hours / 168.0).min(1.0),
        signal: None,
        start: case.start(),
        end: case.end,
        observed: calls as f64,
        expected: 0.0,
        low: None,
        high: Some(0.0),
        unit: crate::grid::per("calls", case.length()),
        explanation: format!(
            "{} called {} {}, which it has not done {since}; watched for {:.0} h{}{}",
            case.pair.source,
            case.pair.destination,
            if calls == 1 { "once".to_owned() } else { format!("{calls} times") },
            case.watched_hours,
            match (is_path, crosses) {
                (true, _) => format!(
                    ", and nothing in {} ever called anything in {}",
                    namespace(&case.pair.source),
                    namespace(&case.pair.destination)
                ),
                (_, true) => ", and it crosses namespaces".to_owned(),
                _ => String::new(),
            },
            if denied { ", and a policy denied it" } else { "" },
        ),
        class: Class::Any,
        evidence: calls as f64,
        quiet: HOUR,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contact::Contact;
    use crate::detectors::tests::{judge, judge_with, learned, window};
    use crate::shared::Shared;

    #[test]
    fn a_pair_is_new_once_and_again_after_a_silence_until_it_is_familiar() {
        let mut state = PairState::new(240 * HOUR);
        let new = |state: &PairState| judge(state, &window(1, 5), BASE, super::judge);
        let first = new(&state).unwrap();
        assert_eq!((first.kind, first.severity), (FindingKind::CrossNamespace, Severity::Medium));
        let mut shared = Shared::default();
        let another = Pair::new("c", "shop/web", "data/files");
        shared.learn(&[Contact::example(another)], false, true);
        let again = judge_with(&shared, &state, &window(1, 5), BASE, super::judge).unwrap();
        assert_eq!(again.kind, FindingKind::NewPair, "the namespaces know each other");
        state.hours_seen = 1;
        state.last_seen = 239 * HOUR;
        assert!(new(&state).is_none());
        state.last_seen = 200 * HOUR;
        assert!(new(&state).unwrap().explanation.contains("for 40 h"));
        state.hours_seen = 6;
        assert!(new(&state).is_none());
        assert!(new(&learned(60)).is_none());
    }
}
