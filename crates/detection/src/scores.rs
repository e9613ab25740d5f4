//! The calibration of every detector by its own past scores, over all pairs.

use std::cell::{Cell, RefCell};

use lapwing_telemetry::FindingKind;
use serde::{Deserialize, Serialize};

use crate::grid::{BASE, HOURS, MINUTES, TENS};

/// Kinds of findings.
const KINDS: usize = FindingKind::ALL.len();
/// Probabilities below this one are the tail.
const TAIL: f64 = 1e-3;
/// Scores' worth of trust in the model.
const TRUST: f64 = 10.0;
/// One wild window must not blind a detector.
const MAX_EXCESS: f64 = 12.0;
/// Excesses are added up as integers, so that the order of pairs cannot matter.
const UNIT: f64 = 1_000.0;
/// What an hour leaves of those before: half after two weeks.
const KEEP: f64 = 0.998;

/// Scores of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Count {
    tests: u64,
    /// In the tail, and by how much `-ln p` exceeds that of its beginning.
    beyond: u64,
    excess: u64,
}

/// A score in the tail: of which kind, and by how much `-ln p` exceeds that of the tail's beginning, in thousandths.
pub(crate) type Score = (FindingKind, u32);

/// Scores of a pair's hour that are remembered until it ends.
const MAX_SCORES: usize = 32;

/// Scores of the windows that close at a boundary.
#[derive(Debug)]
pub(crate) struct Tally {
    counts: [Cell<Count>; KINDS],
    noted: RefCell<Vec<Score>>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally { counts: std::array::from_fn(|_| Cell::default()), noted: RefCell::default() }
    }
}

impl Tally {
    /// Notes the probability of a window that was not found unusual.
    pub(crate) fn note(&self, kind: FindingKind, p: f64) {
        let beyond = libm::log(TAIL) - libm::log(p.max(1e-300));
        if beyond > 0.0 {
            self.noted.borrow_mut().push((kind, (beyond.min(MAX_EXCESS) * UNIT) as u32));
        }
    }

    /// Hands what was noted of a pair's window to the pair.
    pub(crate) fn hand_to(&self, scores: &mut Vec<Score>) {
        let room = MAX_SCORES.saturating_sub(scores.len());
        scores.extend(self.noted.borrow_mut().drain(..).take(room));
    }

    /// Counts the scores of a pair's hour that is over; of what was found unusual in it, none.
    pub(crate) fn count(&self, scores: &mut Vec<Score>, unusual: impl Fn(FindingKind) -> bool) {
        for (kind, excess) in scores.drain(..).filter(|(kind, _)| !unusual(*kind)) {
            self.add(kind, Count { tests: 0, beyond: 1, excess: u64::from(excess) });
        }
    }

    /// Counts a window of a level as a test of every kind that judges such windows.
    pub(crate) fn window(&self, level: usize) {
        for kind in judges(level) {
            self.add(*kind, Count { tests: 1, beyond: 0, excess: 0 });
        }
    }

    fn add(&self, kind: FindingKind, more: Count) {
        let cell = &self.counts[kind as usize];
        let Count { tests, beyond, excess } = cell.get();
        cell.set(Count {
            tests: tests + more.tests,
            beyond: beyond + more.beyond,
            excess: excess + more.excess,
        });
    }
}

/// The kinds whose probability comes from a distribution, by the level of the windows that they judge.
fn judges(level: usize) -> &'static [FindingKind] {
    use FindingKind::{
        AuthFailures, ErrorShift, Exfiltration, LatencyDrift, LatencyShift, OffHours, PolicyDenials,
        RetryStorm, TlsFailures, VolumeDrop, VolumeSpike,
    };
    match level {
        BASE | MINUTES => {
            &[VolumeSpike, LatencyShift, ErrorShift, RetryStorm, AuthFailures, PolicyDenials, TlsFailures]
        }
        TENS => &[
            VolumeSpike,
            LatencyShift,
            ErrorShift,
            RetryStorm,
            AuthFailures,
            PolicyDenials,
            TlsFailures,
            OffHours,
            Exfiltration,
        ],
        HOURS => &[
            VolumeSpike,
            VolumeDrop,
            LatencyShift,
            LatencyDrift,
            ErrorShift,
            RetryStorm,
            AuthFailures,
            PolicyDenials,
            TlsFailures,
            OffHours,
            Exfiltration,
        ],
        _ => &[],
    }
}

/// What past scores say of each kind.
///
/// If a detector's model is right, one in a thousand of its probabilities on ordinary windows lies below a
/// thousandth, and `-ln p` exceeds that point by 1 on average. Both are counted over all pairs; where there are
/// more, or they reach further, probabilities in the tail are raised by as much: the peaks over threshold of extreme value theory with
/// shape zero (Pickands, Annals of Statistics 3, 1975; for streams: Siffer et al., KDD 2017). Never the other way, so
/// a detector can become more careful than its model and not less. Hours in which a pair was found unusual do not
/// count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scores {
    hour: Vec<Count>,
    past: Vec<Past>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Past {
    tests: f64,
    beyond: f64,
    excess: f64,
    hours: f64,
}

impl Default for Scores {
    fn default() -> Scores {
        Scores { hour: vec![Count::default(); KINDS], past: vec![Past::default(); KINDS] }
    }
}

/// How a detector's scores have been, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// The kind of findings.
    pub kind: FindingKind,
    /// Windows judged a day, over all pairs.
    pub tests_per_day: f64,
    /// Scores in the last weeks below one in a thousand, in windows that were not reported.
    pub seen: f64,
    /// How many of them the model leads to expect.
    pub expected: f64,
    /// How many times further than the model says the scores reach; at least 1.
    pub stretch: f64,
    /// The probability by the model below which a window of an hour is reported, all told.
    pub threshold: f64,
}

impl Past {
    fn stretch(self) -> f64 {
        ((self.excess + TRUST) / (self.beyond + TRUST)).max(1.0)
    }

    fn more(self) -> f64 {
        ((self.beyond + TRUST) / (self.tests * TAIL + TRUST)).max(1.0)
    }
}

impl Scores {
    /// Takes in what was counted at a boundary.
    pub(crate) fn take(&mut self, tally: &Tally) {
        for (mine, new) in self.hour.iter_mut().zip(&tally.counts) {
            let new = new.take();
            mine.tests += new.tests;
            mine.beyond += new.beyond;
            mine.excess += new.excess;
        }
    }

    /// Ends an hour: from now on, its scores count.
    pub(crate) fn hour(&mut self) {
        for (past, hour) in self.past.iter_mut().zip(&mut self.hour) {
            let hour = std::mem::take(hour);
            past.tests = past.tests * KEEP + hour.tests as f64;
            past.beyond = past.beyond * KEEP + hour.beyond as f64;
            past.excess = past.excess * KEEP + hour.excess as f64 / UNIT;
            past.hours = past.hours * KEEP + 1.0;
        }
    }

    /// The probability, given the tail as it has been.
    pub(crate) fn correct(&self, kind: FindingKind, p: f64) -> f64 {
        let Some(past) = self.past.get(kind as usize) else { return p };
        if p >= TAIL || (past.stretch() <= 1.0 && past.more() <= 1.0) {
            return p;
        }
        let beyond = libm::log(TAIL) - libm::log(p.max(1e-300));
        (TAIL * past.more() * libm::exp(-beyond / past.stretch())).clamp(p, 1.0)
    }

    /// The calibration of every kind that has been tested, given the probability that an hour's window must be
    /// below.
    pub(crate) fn show(&self, tail: f64) -> Vec<Calibration> {
        let tested = FindingKind::ALL.iter().zip(&self.past).filter(|(_, past)| past.tests > 0.0);
        tested
            .map(|(kind, past)| Calibration {
                kind: *kind,
                tests_per_day: 24.0 * past.tests / past.hours.max(1.0),
                seen: past.beyond,
                expected: past.tests * TAIL,
                stretch: past.stretch(),
                threshold: TAIL * libm::pow((tail / (TAIL * past.more())).min(1.0), past.stretch()),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a thousandth of a thousandth becomes after such scores.
    fn check(power: f64) -> f64 {
        let tally = Tally::default();
        let mut scores = Scores::default();
        for i in 0..100_000 {
            let uniform = (f64::from(i * 7_919 % 100_000) + 0.5) / 100_000.0;
            tally.window(TENS);
            tally.note(FindingKind::LatencyShift, uniform.powf(power));
            let mut scores = Vec::new();
            tally.hand_to(&mut scores);
            tally.count(&mut scores, |_| false);
        }
        scores.take(&tally);
        assert_eq!(scores.correct(FindingKind::LatencyShift, 1e-9), 1e-9, "not before the hour ends");
        scores.hour();
        assert_eq!(scores.correct(FindingKind::LatencyShift, 0.02), 0.02);
        assert_eq!(scores.correct(FindingKind::ErrorShift, 1e-9), 1e-9);
        let shown = scores.show(1e-6);
        let row = shown.iter().find(|row| row.kind == FindingKind::LatencyShift).unwrap();
        let at_threshold = scores.correct(FindingKind::LatencyShift, row.threshold);
        assert!((at_threshold.log10() + 6.0).abs() < 1e-6, "{row:?}");
        scores.correct(FindingKind::LatencyShift, 1e-9)
    }

    #[test]
    fn scores_as_the_model_says_change_nothing_and_heavier_ones_make_it_careful() {
        assert!((check(1.0).log10() + 9.0).abs() < 0.5);
        assert!(check(2.0) > 1e-7);
        assert!((check(0.5).log10() + 9.0).abs() < 0.1, "never less careful");
    }
}
