//! Calls at hours of the week at which a pair makes none.

use lapwing_telemetry::{FindingKind, Severity};

use super::Case;
use crate::claim::{Claim, number};
use crate::exemplars::Class;
use crate::grid::{HOUR, HOURS, TENS, per, span};
use crate::tails::negative_binomial_upper;

/// Calls that must have been seen: fewer than a spike needs, because none are usual.
const MIN_CALLS: u64 = 3;
/// Hours that must have been watched at this time of day and kind of day, and an hour before and after.
const MIN_WATCHED_HOURS: f64 = 8.0;
/// Calls in those that count as none.
const MAX_USUAL: f64 = 0.5;

/// Claims by the upper tail of a Gamma-Poisson: calls in the window, given how many came in the hours watched at
/// this time of day and kind of day (local time, an hour early or late included) and the pair's overall rate as one
/// more hour. So only a pair that is active at other hours, and long watched at this one, can be out of hours.
pub(crate) fn judge(case: &Case<'_>) -> Option<Claim> {
    let state = case.state;
    if !(case.level == TENS || case.level == HOURS) || !state.is_learned() {
        return None;
    }
    let calls = state.reported(case.counts)?.calls;
    let (usual, watched) = state.volume.around(case.grid, case.start());
    if calls < MIN_CALLS || usual > MAX_USUAL || watched < MIN_WATCHED_HOURS {
        return None;
    }
    let overall = state.volume.overall();
    let expected = (usual + overall) / (watched + 1.0) * case.hours();
    let p = negative_binomial_upper(calls, expected, usual + 1.0);
    let p = case.unusual(FindingKind::OffHours, p)?;
    Some(Claim {
        kind: FindingKind::OffHours,
        detector: "off_hours",
        severity: if calls >= 50 { Severity::High } else { Severity::Medium },
        p,
        confidence: state.confidence(),
        signal: state.reporter,
        start: case.start(),
        end: case.end,
        observed: calls as f64,
        expected,
        low: None,
        high: Some(0.0),
        unit: per("calls", case.length()),
        explanation: format!(
            "{calls} calls in {} at a time of the week at which there were none in {} h watched; {} an hour overall, {}",
            span(case.length()),
            number(watched),
            number(overall),
            state.history(),
        ),
        class: Class::Any,
        evidence: calls as f64,
        quiet: case.quiet().max(HOUR + HOUR / 4),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::detectors::tests::{judge, window};
    use crate::grid::Grid;
    use crate::pair_state::PairState;

    /// Four weeks of calls in these hours of the day, then a window that ends ten days' worth of hours later.
    fn check(busy: std::ops::Range<i64>, calls: u64, level: usize) -> Option<Claim> {
        let grid = Grid::new(&Settings::default());
        let mut state = PairState::new(0);
        for hour in 0..28 * 24 {
            let n = if busy.contains(&(hour % 24)) { 30 } else { 0 };
            state.learn(&grid, (hour + 1) * HOUR, &window(n, 20));
        }
        judge(&state, &window(calls, 20), level, super::judge)
    }

    #[test]
    fn calls_at_night_are_claimed_on_a_pair_that_works_by_day_alone() {
        // The window judged begins at midnight.
        let claim = check(8..18, 12, HOURS).unwrap();
        assert_eq!((claim.kind, claim.observed), (FindingKind::OffHours, 12.0));
        assert!(check(8..18, 60, HOURS).unwrap().p < claim.p);
        assert!(check(8..18, 2, HOURS).is_none(), "two calls may be anything");
        assert!(check(0..18, 12, HOURS).is_none(), "midnight is an hour of work here");
        assert!(check(1..18, 12, HOURS).is_none(), "an hour early is no strange time");
    }
}
