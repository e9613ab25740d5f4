//! Calls that take longer than they did.

use lapwing_telemetry::{FindingKind, Severity};

use super::Case;
use crate::baseline::Spread;
use crate::claim::{Claim, number};
use crate::counts::Histogram;
use crate::exemplars::Class;
use crate::pair_state::PairState;
use crate::tails::binomial_upper;

/// Calls that must have been timed in the window.
const MIN_CALLS: u64 = 5;
/// Calls from which on the window's own 90th percentile means something.
const MIN_CALLS_FOR_TAIL: u64 = 20;
/// Calls that the baseline must rest on.
pub(crate) const MIN_HISTORY: f64 = 50.0;
/// A shift is to at least this many times what is usual.
const MIN_RATIO: f64 = 1.5;
/// And by at least this much.
const MIN_SHIFT_MS: f64 = 20.0;

/// Claims by a sign test: of the window's calls, how many are slower than nine in ten (and than one in two) of
/// the past? That number is binomial if nothing changed, whatever the distribution of durations. Its variance
/// beyond chance is learned from the pair's own windows and divides the number of calls (the effective sample
/// size of a design effect; Kish, 1965).
pub(crate) fn judge(case: &Case<'_>) -> Option<Claim> {
    let state = case.state;
    let seen = &state.reported(case.counts)?.latency;
    let n = seen.total();
    if n < MIN_CALLS || !state.is_learned() || state.latency.total() < MIN_HISTORY {
        return None;
    }
    let (quantile, now, usual) = shift(state, seen, n)?;
    let inflation = Spread::of(&state.latency.spread, case.level);
    let p = [0.1, 0.5].map(|share| {
        let boundary = state.latency.boundary(share);
        binomial_upper(seen.from(boundary.bucket) as f64 / inflation, n as f64 / inflation, boundary.share)
    });
    let p = (2.0 * p[0].min(p[1])).min(1.0); // two tests
    let p = case.unusual(FindingKind::LatencyShift, p)?;
    let severity = match now / usual.max(1.0) {
        r if r >= 10.0 => Severity::High,
        r if r >= 3.0 => Severity::Medium,
        _ => Severity::Low,
    };
    let high = state.latency.quantile_ms(0.9);
    Some(Claim {
        kind: FindingKind::LatencyShift,
        detector: "latency",
        severity,
        p,
        confidence: state.confidence(),
        signal: state.reporter,
        start: case.start(),
        end: case.end,
        observed: now,
        expected: usual,
        low: None,
        high: high.map(|high| high.max(usual)),
        unit: "ms".to_owned(),
        explanation: format!(
            "{quantile} of {n} calls in {} took at least {} ms, usually {} ms (nine in ten below {} ms), {}",
            crate::grid::span(case.length()),
            number(now),
            number(usual),
            number(high.unwrap_or(usual)),
            state.history(),
        ),
        class: Class::Slow,
        evidence: now - usual,
        quiet: case.quiet(),
    })
}

/// The quantile that moved far enough to matter, in words, with where it is and where it was.
fn shift(state: &PairState, seen: &Histogram, n: u64) -> Option<(&'static str, f64, f64)> {
    [(0.5, "half", MIN_CALLS), (0.9, "a tenth", MIN_CALLS_FOR_TAIL)].into_iter().find_map(
        |(share, words, least)| {
            let (now, usual) = (seen.quantile_ms(share)?, state.latency.quantile_ms(share)?);
            (n >= least && now >= MIN_RATIO * usual && now - usual >= MIN_SHIFT_MS)
                .then_some((words, now, usual))
        },
    )
}

/// Learns from a window how much the share of slow calls varies.
pub(crate) fn learn_spread(state: &mut PairState, level: usize, seen: &Histogram) {
    let n = seen.total() as f64;
    if n < MIN_CALLS as f64 || state.latency.total() < MIN_HISTORY {
        return;
    }
    let boundary = state.latency.boundary(0.1);
    let mean = n * boundary.share;
    let off = seen.from(boundary.bucket) as f64 - mean;
    state.latency.spread[level].learn(off * off / (mean * (1.0 - boundary.share)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::tests::{judge, learned, window};
    use crate::grid::{HOURS, TENS};

    #[test]
    fn slower_calls_are_claimed_even_when_they_are_few() {
        let state = learned(60);
        let of = |calls, ms, level| judge(&state, &window(calls, ms), level, super::judge);
        let claim = of(8, 200, TENS).unwrap();
        assert!(
            (150.0..260.0).contains(&claim.observed) && (15.0..26.0).contains(&claim.expected),
            "{claim:?}"
        );
        assert!(of(4, 900, TENS).is_none(), "four calls say nothing");
        assert!(of(60, 22, HOURS).is_none(), "a tenth slower is a canary");
        assert!(of(60, 33, HOURS).is_none(), "13 ms hurt nobody");
    }

    #[test]
    fn a_pair_whose_latency_wavers_needs_more() {
        let mut state = learned(60);
        for _ in 0..200 {
            learn_spread(
                &mut state,
                TENS,
                &window(10, 300).signal_mut(lapwing_telemetry::Signal::LogServer).latency,
            );
        }
        assert!(judge(&state, &window(8, 200), TENS, super::judge).is_none());
    }
}
