//! An operation that nobody has called before.

use lapwing_telemetry::{FindingKind, Severity};

use super::{Case, novelty};
use crate::claim::Claim;
use crate::exemplars::Class;
use crate::grid::BASE;
use crate::hash::fnv;

/// Hours with calls that the pair must have been watched for.
const MIN_HOURS: f64 = 48.0;

/// Claims an operation that neither the pair nor anybody else has called of the service, from its first call on.
///
/// The pair's probability is that of the rule of succession (Laplace): after so many hours with so many
/// discoveries, the chance that the next hour has one. Whether discoveries are a surprise at all, the mesh decides
/// by itself: they are reported only while long-known pairs of long-known services make fewer of them a day than the
/// budget allows (the posterior mean of a Gamma-Poisson). So a mesh whose paths are not templated, or that is
/// released all day, gets none. An update of the called service within the last day explains what is new.
pub(crate) fn judge(case: &Case<'_>) -> Option<Claim> {
    let new = discovered(case)?;
    let state = case.state;
    if case.shared.structure.discoveries_a_day() > case.shared.budget * case.factor(FindingKind::NewOperation)
    {
        return None;
    }
    let calls: u64 = new.iter().map(|(_, n)| u64::from(*n)).sum();
    let crosses = novelty::crosses(case.pair);
    Some(Claim {
        kind: FindingKind::NewOperation,
        detector: "operations",
        severity: if crosses { Severity::Low } else { Severity::Info },
        p: state.operations.chance(),
        confidence: state.confidence(),
        signal: state.reporter,
        start: case.start(),
        end: case.end,
        observed: calls as f64,
        expected: 0.0,
        low: None,
        high: Some(0.0),
        unit: crate::grid::per("calls", case.length()),
        explanation: format!(
            "{calls} call{} of {}{} by {} that nobody has called of {} before, in {:.0} h with calls; {}",
            if calls == 1 { "" } else { "s" },
            if new.len() == 1 { "an operation".to_owned() } else { format!("{} operations", new.len()) },
            name(case, &new).map(|name| format!(" ({name})")).unwrap_or_default(),
            case.pair.source,
            case.pair.destination,
            state.operations.hours(),
            state.history(),
        ),
        class: Class::Any,
        evidence: calls as f64,
        quiet: case.quiet(),
    })
}

/// The name of one of them, if an exemplar happens to have it.
fn name(case: &Case<'_>, new: &[(u32, u32)]) -> Option<String> {
    let state = case.state;
    let shown = state.exemplars.shown(Class::Any, case.start(), case.end, &state.names);
    let is_new = |name: &String| new.iter().any(|(operation, _)| *operation == hash(name));
    shown.into_iter().filter_map(|exemplar| exemplar.operation).find(is_new)
}

/// Stands for an operation. Only as much of its name counts as is kept.
pub(crate) fn hash(name: &str) -> u32 {
    fnv(&[crate::pair_state::kept(name).as_bytes()]) as u32
}

/// Operations in a base window that are new to a long-known pair and to its service, with the number of calls;
/// `None` if there are none.
pub(crate) fn discovered(case: &Case<'_>) -> Option<Vec<(u32, u32)>> {
    let state = case.state;
    if case.level != BASE || !novelty::is_familiar(state) || state.operations.hours() < MIN_HOURS {
        return None;
    }
    let seen = state.reported(case.counts)?;
    let is_new = |operation: u32| {
        state.operations.lacks(operation) && case.shared.structure.lacks(case.pair, operation)
    };
    let new: Vec<(u32, u32)> = seen.operations.iter().copied().filter(|(o, _)| is_new(*o)).collect();
    (!new.is_empty() && !state.rollout.is_recent(case.start())).then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::Counts;
    use crate::detectors::tests::{judge_with, learned, window};
    use crate::shared::Shared;
    use lapwing_telemetry::Signal;

    fn calling(operations: &[u32]) -> Counts {
        let mut counts = window(4, 20);
        operations.iter().for_each(|o| counts.signal_mut(Signal::LogServer).operation(*o));
        counts
    }

    #[test]
    fn an_operation_is_new_once_and_not_in_a_mesh_that_often_finds_some() {
        let mut state = learned(60);
        state.operations.see(&[(1, 1)]);
        let mut shared = Shared { budget: 0.33, ..Shared::default() };
        (0..240).for_each(|_| shared.learn(&[], true, true));
        let of = |shared: &Shared, state: &_, operations: &[u32]| {
            judge_with(shared, state, &calling(operations), BASE, super::judge)
        };
        assert!(of(&shared, &state, &[1]).is_none());
        let claim = of(&shared, &state, &[1, 2, 2]).unwrap();
        assert_eq!((claim.kind, claim.observed), (FindingKind::NewOperation, 2.0));
        assert!(of(&shared, &learned(60), &[2]).is_some());
        state.operations.see(&[(2, 2)]);
        assert!(of(&shared, &state, &[1, 2]).is_none());
        let busy = Shared { budget: 0.001, ..shared };
        assert!(of(&busy, &learned(60), &[2]).is_none());
    }
}
