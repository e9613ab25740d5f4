//! A larger share of calls fails.

use lapwing_telemetry::{FindingKind, Severity};

use super::Case;
use crate::baseline::{Cusum, Spread};
use crate::claim::{Claim, number};
use crate::counts::SignalCounts;
use crate::exemplars::Class;
use crate::grid::{HOUR, HOURS};
use crate::lifecycle::by_count;
use crate::pair_state::PairState;

/// Calls that the share of errors must rest on. Errors have no rhythm to learn, so this can be soon.
pub(crate) const MIN_HISTORY: f64 = 30.0;
/// Errors that must have been seen.
const MIN_ERRORS: u64 = 5;
/// And this many times the expected number.
const MIN_RATIO: f64 = 3.0;
/// And this share of the window's calls.
const MIN_SHARE: f64 = 0.02;

/// Claims by the upper tail of a Gamma-Poisson: errors in so many calls, given the posterior of the share of
/// errors (prior of Jeffreys), in calls divided by how much more the pair's errors cluster than chance. Calls
/// that were refused for their token, by a policy or by TLS are other detectors' business, and those of the first
/// minutes of an update of the called service ([`crate::baseline::Rollout`]) are the update's. And slowly: by a cumulative
/// sum over hours ([`Cusum`]) of the log-likelihood ratio of a binomial, thrice the share against the share.
pub(crate) fn judge(case: &Case<'_>) -> Option<Claim> {
    at_once(case).or_else(|| slowly(case))
}

fn at_once(case: &Case<'_>) -> Option<Claim> {
    let state = case.state;
    let seen = state.reported(case.counts)?;
    let excused = state.excused[case.level];
    let (errors, calls) = (seen.errors.saturating_sub(excused), seen.calls as f64);
    let expected = state.errors.share() * calls;
    let share = errors as f64 / calls.max(1.0);
    if errors < MIN_ERRORS
        || state.errors.calls() < MIN_HISTORY
        || (errors as f64) < MIN_RATIO * expected
        || share < MIN_SHARE
    {
        return None;
    }
    let p = state.errors.upper_tail(errors, calls, case.level);
    let p = case.unusual(FindingKind::ErrorShift, p)?;
    let usual = 100.0 * state.errors.share();
    Some(Claim {
        kind: FindingKind::ErrorShift,
        detector: "errors",
        severity: by_count(errors),
        p,
        confidence: state.confidence(),
        signal: state.reporter,
        start: case.start(),
        end: case.end,
        observed: 100.0 * share,
        expected: usual,
        low: None,
        high: Some(MIN_RATIO * usual),
        unit: "%".to_owned(),
        explanation: format!(
            "{errors} of {} calls failed in {} ({} %), usually {usual:.2} %, {}",
            seen.calls,
            crate::grid::span(case.length()),
            number(100.0 * share),
            state.history(),
        ),
        class: Class::Error,
        evidence: errors as f64,
        quiet: case.quiet(),
    })
}

/// The share of errors up to which a window of so many calls makes no finding.
pub(crate) fn usual_most(share: f64, calls: u64) -> f64 {
    (MIN_RATIO * share).max(MIN_SHARE).max((MIN_ERRORS - 1) as f64 / calls.max(1) as f64).min(1.0)
}

/// The name of the test over hours.
pub(crate) const SLOWLY: &str = "error_drift";
/// Errors that it must have seen.
const MIN_SLOW_ERRORS: f32 = 10.0;
/// And this many times the expected number.
const MIN_SLOW_RATIO: f64 = 2.0;
/// The alternative: this many times the usual share.
const ALTERNATIVE: f64 = 3.0;

fn slowly(case: &Case<'_>) -> Option<Claim> {
    let state = case.state;
    if case.level != HOURS || !state.is_learned() || (state.unusual.errors && !state.unusual.eroding) {
        return None;
    }
    let sum = failing(state, state.reported(case.counts)?, state.excused[HOURS], case.start());
    let usual = state.errors.share();
    let share = f64::from(sum.observed) / f64::from(sum.expected).max(1.0);
    if !sum.has_grown(state.failing)
        || sum.observed < MIN_SLOW_ERRORS
        || share < MIN_SLOW_RATIO * usual
        || share < MIN_SHARE
    {
        return None;
    }
    let p = case.unusual(FindingKind::ErrorShift, sum.p())?;
    Some(Claim {
        kind: FindingKind::ErrorShift,
        detector: SLOWLY,
        severity: Severity::Low,
        p,
        confidence: state.confidence(),
        signal: state.reporter,
        start: sum.since,
        end: case.end,
        observed: 100.0 * share,
        expected: 100.0 * usual,
        low: None,
        high: Some(100.0 * MIN_SLOW_RATIO * usual),
        unit: "%".to_owned(),
        explanation: format!(
            "{:.0} of {:.0} calls failed in {} ({} %), usually {:.2} %, {}",
            sum.observed,
            sum.expected,
            crate::grid::span(case.end - sum.since),
            number(100.0 * share),
            100.0 * usual,
            state.history(),
        ),
        class: Class::Error,
        evidence: f64::from(sum.observed),
        quiet: HOUR + HOUR / 4,
    })
}

/// The sum of evidence for more errors after an hour, of calls and errors in place of expected and observed.
pub(crate) fn failing(state: &PairState, hour: &SignalCounts, excused: u64, start: i64) -> Cusum {
    let calls = hour.calls as f64;
    let errors = (hour.errors.saturating_sub(excused) as f64).min(calls);
    let share = state.errors.share();
    let doubt = (share * (1.0 - share) / state.errors.calls().max(1.0)).sqrt();
    // At the upper end of what the history leaves open.
    let usual = (share + 2.0 * doubt).min(0.3);
    let more = (ALTERNATIVE * usual).min(0.9);
    let gain = errors * libm::log(more / usual) + (calls - errors) * libm::log((1.0 - more) / (1.0 - usual));
    state.failing.after(gain / Spread::of(&state.errors.spread, HOURS), errors, calls, start)
}

/// Learns from a window how much errors cluster.
pub(crate) fn learn_spread(state: &mut PairState, level: usize, seen: &SignalCounts) {
    if state.is_learned() {
        state.errors.learn_spread(level, seen.errors, seen.calls);
    }
}

#[cfg(test)]
mod tests {
    use crate::counts::Counts;
    use crate::detectors::tests::{judge, judge_at, learned, window};
    use crate::grid::{Grid, HOUR, HOURS, TENS};
    use lapwing_telemetry::Signal;

    fn failing(calls: u64, errors: u64) -> Counts {
        let mut counts = window(calls, 20);
        counts.signal_mut(Signal::LogServer).errors = errors;
        counts
    }

    #[test]
    fn a_burst_is_claimed_and_single_errors_are_not() {
        let state = learned(60);
        let of = |calls, errors, level| judge(&state, &failing(calls, errors), level, super::judge);
        let claim = of(12, 6, TENS).unwrap();
        assert_eq!((claim.observed, claim.unit.as_str()), (50.0, "%"));
        assert!(of(60, 2, HOURS).is_none());
        assert!(of(12, 4, TENS).is_none());
    }

    #[test]
    fn a_few_more_errors_add_up_over_hours() {
        let check = |errors: u64| {
            let mut state = learned(60);
            let grid = Grid::new(&crate::Settings::default());
            (0..48).find(|hour| {
                let now = failing(60, errors);
                let claimed = judge_at(&state, &now, HOURS, (241 + hour) * HOUR, super::judge);
                state.learn(&grid, (241 + hour) * HOUR, &now);
                claimed.is_some_and(|claim| claim.detector == super::SLOWLY)
            })
        };
        assert!(check(3).is_some_and(|hours| (2..12).contains(&hours)), "{:?}", check(3));
        assert_eq!(check(0), None);
    }

    #[test]
    fn a_pair_that_always_fails_is_usual() {
        let mut state = learned(60);
        (0..300).for_each(|_| state.errors.learn(30, 60, crate::baseline::Learn::Usual));
        assert!(judge(&state, &failing(60, 33), HOURS, super::judge).is_none());
    }
}
