//! Too many calls, too few, or none.

use lapwing_telemetry::{FindingKind, Severity};

use super::Case;
use crate::baseline::Calibration;
use crate::claim::{Claim, number};
use crate::exemplars::Class;
use crate::grid::{Grid, HOUR, HOURS, MINUTE, MINUTES, per};
use crate::pair_state::PairState;
use crate::tails::{negative_binomial_lower, negative_binomial_upper};

/// A spike has at least this many calls.
const MIN_CALLS: u64 = 10;
/// A spike is at least this many times what is usual.
const MIN_RATIO: f64 = 2.0;
/// A drop or silence lacks at least this many calls.
const MIN_MISSING: f64 = 8.0;
/// A drop is to at most this share of what is usual.
const MAX_SHARE: f64 = 0.5;
/// Silence is reported for this long; then the client has gone, and its going away was reported.
const MAX_SILENCE: i64 = 6 * HOUR;

/// Claims by the tails of a negative binomial: a Poisson count whose rate has a Gamma posterior (the hour's
/// profile) and further varies as the pair's own residuals have shown; and where the pair's own windows have shown
/// that its tails are heavier than that, by those ([`Calibration`]). Silence is judged on the calls that
/// should have come since the last one did.
pub(crate) fn judge(case: &Case<'_>) -> Option<Claim> {
    if !case.state.is_learned() {
        return None;
    }
    let calls = case.state.reported(case.counts)?.calls;
    spike(case, calls).or_else(|| drop(case, calls))
}

fn spike(case: &Case<'_>, calls: u64) -> Option<Claim> {
    let volume = &case.state.volume;
    let usual = volume.now.high * case.hours();
    if calls < MIN_CALLS || (calls as f64) < MIN_RATIO * usual {
        return None;
    }
    let p = negative_binomial_upper(calls, usual, volume.size(case.level, volume.now.high_doubt));
    let p = Calibration::of(&volume.more, case.level).correct(p);
    let p = case.unusual(FindingKind::VolumeSpike, p)?;
    let most = volume.usual_most(case.grid, case.level);
    let severity = match calls as f64 / usual.max(1.0) {
        r if r >= 10.0 => Severity::High,
        r if r >= 4.0 => Severity::Medium,
        _ => Severity::Low,
    };
    let what = format!(
        "where {} are usual and at most {}",
        number(volume.now.expected * case.hours()),
        number(most)
    );
    Some(Claim { high: Some(most), ..claim(case, FindingKind::VolumeSpike, severity, p, calls, &what) })
}

fn drop(case: &Case<'_>, calls: u64) -> Option<Claim> {
    let volume = &case.state.volume;
    let usual = volume.now.low * case.hours();
    let missing = usual - calls as f64;
    if case.level != HOURS || calls == 0 || missing < MIN_MISSING || calls as f64 > MAX_SHARE * usual {
        return None;
    }
    let p = negative_binomial_lower(calls, usual, volume.size(case.level, volume.now.low_doubt));
    let p = Calibration::of(&volume.fewer, case.level).correct(p);
    let p = case.unusual(FindingKind::VolumeDrop, p)?;
    let least = volume.usual_least(case.hours());
    let what = format!(
        "where {} are usual and at least {}",
        number(volume.now.expected * case.hours()),
        number(least)
    );
    let claim = claim(case, FindingKind::VolumeDrop, Severity::Medium, p, calls, &what);
    Some(Claim { low: Some(least), evidence: missing, ..claim })
}

/// Learns from a window how heavy the tails of the pair's counts are.
pub(crate) fn calibrate(state: &mut PairState, grid: &Grid, level: usize, calls: u64) {
    if !state.is_learned() {
        return;
    }
    let hours = grid.hours(level);
    let volume = &mut state.volume;
    let (high, low) = (volume.now.high * hours, volume.now.low * hours);
    let more = negative_binomial_upper(calls, high, volume.size(level, volume.now.high_doubt));
    let fewer = negative_binomial_lower(calls, low, volume.size(level, volume.now.low_doubt));
    volume.more[level].learn(more);
    volume.fewer[level].learn(fewer);
}

/// Judges the time since the last call, at the end of a minute.
pub(crate) fn silence(case: &Case<'_>) -> Option<Claim> {
    let (state, gap) = (case.state, case.state.gap);
    let length = case.end - gap.start;
    if !state.is_learned() || gap.missing < MIN_MISSING || length > MAX_SILENCE || case.level != MINUTES {
        return None;
    }
    let p = negative_binomial_lower(0, gap.missing, state.volume.size(HOURS, gap.doubt));
    // One gap, one test, however often it is looked at. One can begin after every minute with calls.
    let (rate, minute) = (gap.missing / length as f64, case.grid.lengths[MINUTES] as f64);
    let none = libm::exp(-rate * minute);
    let gaps = (case.grid.per_day(MINUTES) * (1.0 - none)).max(1.0);
    if p >= case.tail_at(HOURS, FindingKind::Silence) * case.grid.per_day(HOURS) / gaps {
        return None;
    }
    let what = format!("for {} min, where {} should have come", length / MINUTE, number(gap.missing));
    let severity = if gap.missing >= 100.0 { Severity::High } else { Severity::Medium };
    Some(Claim {
        start: gap.start,
        low: Some(gap.missing * MAX_SHARE),
        expected: gap.missing,
        unit: "calls".to_owned(),
        evidence: gap.missing,
        quiet: 30 * MINUTE,
        ..claim(case, FindingKind::Silence, severity, p, 0, &what)
    })
}

fn claim(case: &Case<'_>, kind: FindingKind, severity: Severity, p: f64, calls: u64, what: &str) -> Claim {
    let within = if kind == FindingKind::Silence {
        String::new()
    } else {
        format!(" in {}", crate::grid::span(case.length()))
    };
    Claim {
        kind,
        detector: "volume",
        severity,
        p,
        confidence: case.state.confidence(),
        signal: case.state.reporter,
        start: case.start(),
        end: case.end,
        observed: calls as f64,
        expected: case.state.volume.now.expected * case.hours(),
        low: None,
        high: None,
        unit: per("calls", case.length()),
        explanation: format!(
            "{} calls{within} {what} at this hour, {}",
            number(calls as f64),
            case.state.history()
        ),
        class: Class::Any,
        evidence: calls as f64,
        quiet: case.quiet(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::Counts;
    use crate::detectors::tests::{judge, learned, window};
    use crate::grid::TENS;

    #[test]
    fn a_multiple_of_the_usual_is_a_spike_and_a_fraction_a_drop() {
        let state = learned(60);
        let of = |calls, level| judge(&state, &window(calls, 20), level, super::judge).map(|c| c.kind);
        assert_eq!(of(60, TENS), Some(FindingKind::VolumeSpike));
        assert_eq!(of(180, HOURS), Some(FindingKind::VolumeSpike));
        assert_eq!(of(15, TENS), None);
        assert_eq!(of(100, HOURS), None);
        assert_eq!(of(6, HOURS), Some(FindingKind::VolumeDrop));
        assert_eq!(of(45, HOURS), None);
    }

    #[test]
    fn silence_is_claimed_once_enough_calls_are_missing_and_not_for_ever() {
        let mut state = learned(60);
        let mut gap = |missing, length| {
            state.gap = crate::pair_state::Gap { start: 240 * HOUR + MINUTE - length, missing, doubt: 0.001 };
            judge(&state, &Counts::default(), MINUTES, super::silence)
        };
        assert!(gap(5.0, 10 * MINUTE).is_none());
        let claim = gap(40.0, 40 * MINUTE).unwrap();
        assert_eq!((claim.observed, claim.expected), (0.0, 40.0));
        assert!(
            claim.explanation.starts_with("0 calls for 40 min, where 40 should have come"),
            "{}",
            claim.explanation
        );
        assert!(gap(400.0, 7 * HOUR).is_none());
    }
}
