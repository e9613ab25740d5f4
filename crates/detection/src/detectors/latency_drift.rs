//! Calls that become slower a little at a time.

use lapwing_telemetry::{FindingKind, Severity};

use super::Case;
use crate::claim::{Claim, number};
use crate::exemplars::Class;
use crate::grid::{HOUR, HOURS};

/// Calls that the shift must rest on.
const MIN_CALLS: u32 = 30;
/// A drift is to at least this many times the usual median: a tenth more is a canary.
const MIN_RATIO: f64 = 1.25;
/// And by at least this much.
const MIN_SHIFT_MS: f64 = 10.0;

/// Claims by the cumulative sum of [`crate::baseline::Drift`] over the hours in which calls slower than nine
/// tenths of the past have been more frequent than they were, if the median of those hours has moved, too.
pub(crate) fn judge(case: &Case<'_>) -> Option<Claim> {
    let state = case.state;
    if case.level != HOURS || !state.is_learned() {
        return None;
    }
    let seen = &state.reported(case.counts)?.latency;
    let before = &state.slowing;
    let drift = before.after(&state.latency, seen, case.start());
    let (now, usual) = (drift.seen.quantile_ms(0.5)?, state.latency.quantile_ms(0.5)?);
    let p = libm::exp(-f64::from(drift.evidence));
    if drift.calls < MIN_CALLS
        || !drift.has_grown(before)
        || now < MIN_RATIO * usual
        || now - usual < MIN_SHIFT_MS
    {
        return None;
    }
    let p = case.unusual(FindingKind::LatencyDrift, p)?;
    let length = case.end - drift.since;
    Some(Claim {
        kind: FindingKind::LatencyDrift,
        detector: "latency_drift",
        severity: if now >= 3.0 * usual { Severity::Medium } else { Severity::Low },
        p,
        confidence: state.confidence(),
        signal: state.reporter,
        start: drift.since,
        end: case.end,
        observed: now,
        expected: usual,
        low: None,
        high: Some(MIN_RATIO * usual),
        unit: "ms".to_owned(),
        explanation: format!(
            "over {} half of {} calls took at least {} ms, usually {} ms, and {} of them longer than nine in ten of the past, {}",
            crate::grid::span(length),
            drift.calls,
            number(now),
            number(usual),
            drift.above,
            state.history(),
        ),
        class: Class::Slow,
        evidence: now - usual,
        quiet: HOUR + HOUR / 4,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::tests::{judge, learned, window};
    use crate::grid::Grid;

    /// The hours of calls of `ms` until a drift is claimed; `None` if it is not within a day.
    fn hours(ms: u64) -> Option<i64> {
        let mut state = learned(60);
        let grid = Grid::new(&crate::Settings::default());
        (0..24).find(|hour| {
            let now = window(60, ms);
            let claimed = judge(&state, &now, HOURS, super::judge).is_some();
            state.learn(&grid, (241 + hour) * HOUR, &now);
            claimed
        })
    }

    #[test]
    fn a_drift_is_claimed_sooner_the_larger_it_is_and_a_canary_is_not() {
        assert_eq!(hours(20), None);
        assert_eq!(hours(21), None);
        assert!(hours(40).unwrap() <= 2);
    }
}
