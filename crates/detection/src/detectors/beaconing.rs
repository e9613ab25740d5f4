//! Small calls with a clock behind them.

use lapwing_telemetry::{FindingKind, Severity};

use super::{Case, novelty};
use crate::baseline::rhythm::Beat;
use crate::claim::{Claim, number};
use crate::counts::Counts;
use crate::exemplars::Class;
use crate::grid::BASE;
use crate::pair_state::PairState;

/// Base windows of a period, at least: of shorter ones, windows without calls are too few.
const MIN_WINDOWS: f64 = 4.0;
/// Calls of a burst, at most: a beacon asks once or twice.
const MAX_CALLS: f64 = 4.0;
/// Bytes of a burst, at most.
const MAX_BYTES: f64 = 65_536.0;
/// Standard deviation of the period, at most. Implants shake theirs by a fifth to a half, evenly (0.06 to 0.15).
const MAX_JITTER: f64 = 0.2;
/// Hours after which a rhythm is a change of what the pair did before.
const MIN_HOURS: u32 = 24;

/// Claims a rhythm ([`crate::baseline::Rhythm`]: Moran's test of exponential pauses) of small bursts on a pair that came after
/// lapwing had learned, or that used to call without one. What has a rhythm from the start (scrapes, health checks,
/// jobs) is known to have it, as is one that has been reported. Periods from about four base windows to six hours
/// can be heard; the idea of judging pauses and sizes of a pair is that of RITA's and BAYWATCH's (Hu et al., DSN
/// 2016) first steps.
pub(crate) fn judge(case: &Case<'_>) -> Option<Claim> {
    let state = case.state;
    let beat = after(case)?;
    let was_without = state.rhythm.is_irregular && state.hours_learned >= MIN_HOURS;
    let is_heard = beat.period_ms * 1_000.0 >= MIN_WINDOWS * case.length() as f64;
    if !is_heard
        || !is_small(&beat)
        || state.rhythm.is_habit(beat.period_ms)
        || !(was_without || is_new(state))
    {
        return None;
    }
    let p = case.unusual(FindingKind::Beaconing, beat.p)?;
    let crosses = novelty::crosses(case.pair);
    let period = beat.period_ms / 1_000.0;
    let span = (beat.bursts as f64 * beat.period_ms * 1_000.0) as i64;
    Some(Claim {
        kind: FindingKind::Beaconing,
        detector: "beaconing",
        severity: if crosses { Severity::Medium } else { Severity::Low },
        p,
        confidence: state.confidence(),
        signal: state.reporter,
        start: case.end - span.max(case.length()),
        end: case.end,
        observed: period,
        expected: 0.0,
        low: None,
        high: None,
        unit: "s".to_owned(),
        explanation: format!(
            "the last {} calls came {} s apart, give or take {:.0} %, about {:.0} bytes each time, on a pair {}; {}",
            beat.bursts + 1,
            number(period),
            100.0 * beat.jitter,
            beat.bytes_per_burst,
            if was_without { "that called without a rhythm before" } else { "that came after learning" },
            state.history(),
        ),
        class: Class::Any,
        evidence: beat.bursts as f64,
        quiet: (4_000.0 * beat.period_ms) as i64 + case.quiet(),
    })
}

/// The rhythm with a base window that begins a burst; `None` if it begins none or there is none.
fn after(case: &Case<'_>) -> Option<Beat> {
    if case.level != BASE || !case.state.rhythm.begins(case.start()) || !case.state.rhythm.may_beat() {
        return None;
    }
    let mut rhythm = case.state.rhythm.clone();
    let first_at = case.counts.first_at?;
    let (calls, bytes) = size(case.counts);
    rhythm.see(case.start(), case.end, first_at, calls, bytes);
    rhythm.beat()
}

fn size(counts: &Counts) -> (u64, u64) {
    (counts.most(|c| c.calls), counts.most(|c| c.bytes_in.saturating_add(c.bytes_out)))
}

/// Takes in a base window that has been judged.
pub(crate) fn learn(state: &mut PairState, counts: &Counts, start: i64, end: i64, claimed: bool) {
    let Some(first_at) = counts.first_at else { return };
    let (calls, bytes) = size(counts);
    let is_new = is_new(state);
    let rhythm = &mut state.rhythm;
    let begins = rhythm.begins(start);
    rhythm.see(start, end, first_at, calls, bytes);
    if begins && let Some(beat) = rhythm.beat() {
        let even = is_small(&beat) && beat.p < MAX_P;
        rhythm.note(even);
        // Reported, or there from the start.
        if claimed || (even && !rhythm.is_irregular && !is_new) {
            rhythm.settle(beat.period_ms);
        }
    }
}

/// Pauses less probable than this are even.
const MAX_P: f64 = 1e-3;

fn is_small(beat: &Beat) -> bool {
    beat.calls_per_burst <= MAX_CALLS && beat.bytes_per_burst <= MAX_BYTES && beat.jitter <= MAX_JITTER
}

fn is_new(state: &PairState) -> bool {
    !state.adopted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::tests::{judge_at, window};
    use crate::grid::{DAY, HOUR, SECOND};

    fn call(at: i64, bytes: u64) -> (i64, Counts) {
        let mut counts = window(1, 20);
        counts.seen_at(at);
        counts.signal_mut(lapwing_telemetry::Signal::LogServer).bytes_out = bytes;
        (at / (10 * SECOND) * 10 * SECOND, counts)
    }

    /// The first claim about a pair that called at these seconds.
    fn check(state: &mut PairState, seconds: impl Iterator<Item = i64>, bytes: u64) -> Option<Claim> {
        for at in seconds.map(|s| 30 * DAY + s * SECOND) {
            let (start, counts) = call(at, bytes);
            let end = start + 10 * SECOND;
            let claim = judge_at(state, &counts, BASE, end, super::judge);
            super::learn(state, &counts, start, end, claim.is_some());
            if claim.is_some() {
                return claim;
            }
        }
        None
    }

    #[test]
    fn a_beacon_on_a_new_pair_is_claimed_once() {
        let beats = |from: i64| (from..from + 40).map(|i| 300 * i + i * 7_919 % 30);
        let mut state = PairState::new(0);
        let claim = check(&mut state, beats(0), 400).unwrap();
        assert!((claim.observed - 300.0).abs() < 6.0, "{}", claim.explanation);
        assert!(check(&mut state, beats(50), 400).is_none(), "it has been reported");
        assert!(check(&mut PairState::new(0), beats(0), 900_000).is_none(), "these are no small calls");
    }

    #[test]
    fn a_timer_that_was_always_there_is_usual_and_one_that_is_started_later_is_not() {
        let adopted = |hours_learned| {
            let mut state = PairState::new(0);
            (state.adopted, state.hours_learned) = (true, hours_learned);
            state
        };
        let mut scrape = adopted(0);
        assert!(check(&mut scrape, (0..200).map(|i| 60 * i), 400).is_none());
        let mut person = adopted(48);
        let chance = (0..60_i64).scan(0, |at, i| {
            *at += 20 + (crate::hash::mix(i as u64 + 1) % 1_500) as i64;
            Some(*at)
        });
        assert!(check(&mut person, chance, 400).is_none());
        let later = 12 * HOUR / SECOND;
        assert!(check(&mut person, (0..60).map(|i| later + 60 * i), 400).is_some());
    }
}
