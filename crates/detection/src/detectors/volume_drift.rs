//! More calls, or fewer, by too little for any single hour.

use lapwing_telemetry::{FindingKind, Severity};

use super::Case;
use crate::baseline::Cusum;
use crate::claim::{Claim, number};
use crate::exemplars::Class;
use crate::grid::{HOUR, HOURS, per, span};
use crate::pair_state::PairState;

/// The alternatives: this many times what is usual.
const RISE: f64 = 1.6;
const FALL: f64 = 0.55;
/// What was seen must have moved as far as this.
const MIN_RISE: f64 = 1.4;
const MAX_FALL: f64 = 0.7;
/// Calls too many or missing.
const MIN_CALLS: f64 = 30.0;
/// Hours that it must have gone on for: what is shorter is a spike's or a drop's.
const MIN_HOURS: i64 = 3;

/// Claims by cumulative sums ([`Cusum`]) over hours: the log-likelihood ratio of the hour's count under the
/// negative binomial of the volume detector, against the same with a mean of 1.6 and of 0.55 times. What is
/// usual follows growth and decline of a few percent a day (a moving ratio over about a day), and counts as the highest, or the lowest, that
/// timing explains; so growth and a client that goes away slowly stay below the alternatives.
pub(crate) fn judge(case: &Case<'_>) -> Option<Claim> {
    let state = case.state;
    if case.level != HOURS || !state.is_learned() {
        return None;
    }
    let calls = state.reported(case.counts)?.calls;
    let start = case.start();
    let rise = rising(state, calls, start);
    let fall = falling(state, calls, start);
    let moved = |sum: Cusum, before: Cusum| {
        sum.has_grown(before)
            && case.end - sum.since >= MIN_HOURS * HOUR
            && f64::from((sum.observed - sum.expected).abs()) >= MIN_CALLS
    };
    if moved(rise, state.rising) && rise.ratio() >= MIN_RISE {
        // Two sums.
        let p = case.unusual(FindingKind::VolumeSpike, (2.0 * rise.p()).min(1.0))?;
        return Some(claim(case, FindingKind::VolumeSpike, rise, p));
    }
    if moved(fall, state.falling) && fall.ratio() <= MAX_FALL {
        let p = case.unusual(FindingKind::VolumeDrop, (2.0 * fall.p()).min(1.0))?;
        return Some(claim(case, FindingKind::VolumeDrop, fall, p));
    }
    None
}

fn claim(case: &Case<'_>, kind: FindingKind, sum: Cusum, p: f64) -> Claim {
    let length = case.end - sum.since;
    let (observed, expected) = (f64::from(sum.observed), f64::from(sum.expected));
    let drop = kind == FindingKind::VolumeDrop;
    Claim {
        kind,
        detector: "volume_drift",
        severity: Severity::Low,
        p,
        confidence: case.state.confidence(),
        signal: case.state.reporter,
        start: sum.since,
        end: case.end,
        observed,
        expected,
        low: drop.then_some(MAX_FALL * expected),
        high: (!drop).then_some(MIN_RISE * expected),
        unit: per("calls", length),
        explanation: format!(
            "{} calls in {}, where {} {} are usual at these hours, {}",
            number(observed),
            span(length),
            if drop { "at least" } else { "at most" },
            number(expected),
            case.state.history(),
        ),
        class: Class::Any,
        evidence: (observed - expected).abs(),
        quiet: HOUR + HOUR / 4,
    }
}

/// The sum of evidence for more calls after an hour.
pub(crate) fn rising(state: &PairState, calls: u64, start: i64) -> Cusum {
    let now = state.volume.now;
    after(state.rising, calls, now.high, state.volume.size(HOURS, now.high_doubt), RISE, start)
}

/// The sum of evidence for fewer.
pub(crate) fn falling(state: &PairState, calls: u64, start: i64) -> Cusum {
    let now = state.volume.now;
    after(state.falling, calls, now.low, state.volume.size(HOURS, now.low_doubt), FALL, start)
}

fn after(before: Cusum, calls: u64, mean: f64, size: f64, ratio: f64, start: i64) -> Cusum {
    if mean <= 0.0 {
        return Cusum::default();
    }
    let n = calls as f64;
    let gain = n * libm::log(ratio) - (n + size) * libm::log((ratio * mean + size) / (mean + size).max(1e-9));
    before.after(gain, n, mean, start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::tests::{judge_at, learned, window};
    use crate::grid::Grid;

    /// The hours at that rate until a change is claimed, and which; `None` if it is not within two days.
    fn check(calls: u64) -> Option<(i64, FindingKind)> {
        let mut state = learned(60);
        let grid = Grid::new(&crate::Settings::default());
        (0..48).find_map(|hour| {
            let now = window(calls, 20);
            let claim = judge_at(&state, &now, HOURS, (241 + hour) * HOUR, super::judge);
            state.learn(&grid, (241 + hour) * HOUR, &now);
            state.volume.look_up(&grid, (241 + hour) * HOUR);
            claim.map(|claim| (hour + 1, claim.kind))
        })
    }

    #[test]
    fn a_change_too_small_for_an_hour_is_claimed_within_a_day_and_a_smaller_one_is_growth() {
        let (hours, kind) = check(110).unwrap();
        assert_eq!(kind, FindingKind::VolumeSpike);
        assert!((3..24).contains(&hours), "{hours}");
        assert_eq!(check(28).unwrap().1, FindingKind::VolumeDrop);
        assert_eq!(check(72), None);
        assert_eq!(check(52), None);
    }
}
