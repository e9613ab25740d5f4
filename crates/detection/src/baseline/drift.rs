//! A shift too small for any single hour, summed over hours.

use serde::{Deserialize, Serialize};

use super::{Distribution, Learn};
use crate::counts::Histogram;
use crate::grid::HOURS;

/// A cumulative sum over hours of the evidence that calls above nine tenths of the past have become more frequent.
///
/// Page's test (Biometrika 41, 1954) on the log-likelihood ratio of a binomial: `k` of an hour's `n` calls above a
/// boundary that a share `s` of the past exceeded, against thrice that share. The sum never falls below zero. A
/// sum of `h` is reached once in `exp(h)` hours or less often if nothing changed (Lorden, Annals of Mathematical
/// Statistics 42, 1971), so the budget gives the threshold. Two things keep that honest: the share is taken at the
/// upper end of what the history leaves open, and evidence is divided by how much more the pair's own hours vary
/// than chance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Drift {
    /// The sum, a logarithm of a likelihood ratio.
    pub(crate) evidence: f32,
    /// Start of the first hour since the sum was zero.
    pub(crate) since: i64,
    /// Calls since then, and those above the boundary.
    pub(crate) calls: u32,
    pub(crate) above: u32,
    /// Their durations or sizes.
    pub(crate) seen: Histogram,
}

/// Calls that the history must rest on.
const MIN_HISTORY: f64 = 200.0;
/// The alternative: this many times the usual share.
const RATIO: f64 = 3.0;
/// The largest share that the alternative may reach.
const MAX_SHARE: f64 = 0.8;

/// The sum goes no further, so that it comes down within a day or two of the end. Above every threshold.
const MAX_EVIDENCE: f64 = 40.0;

impl Drift {
    pub(crate) const NONE: Drift =
        Drift { evidence: 0.0, since: 0, calls: 0, above: 0, seen: Histogram::EMPTY };

    /// The sum after an hour that starts at `start`. Depends on the past only, so that it may be asked before
    /// the hour is learned and again when it is.
    pub(crate) fn after(&self, past: &Distribution, hour: &Histogram, start: i64) -> Drift {
        let n = hour.total();
        if n == 0 || past.total() < MIN_HISTORY {
            return self.clone();
        }
        let boundary = past.boundary(0.1);
        let share = boundary.share + 2.0 * (boundary.share * (1.0 - boundary.share) / past.total()).sqrt();
        let more = (RATIO * share).min(MAX_SHARE);
        if more <= share {
            return self.clone();
        }
        let above = hour.from(boundary.bucket);
        let gain = above as f64 * libm::log(more / share)
            + (n - above) as f64 * libm::log((1.0 - more) / (1.0 - share));
        let evidence = f64::from(self.evidence) + gain / past.spread[HOURS].ratio();
        let evidence = evidence.min(MAX_EVIDENCE);
        if evidence <= 0.0 {
            return Drift::NONE;
        }
        let mut seen = self.seen.clone();
        seen.add(hour);
        let since = if self.evidence > 0.0 { self.since } else { start };
        let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Drift {
            evidence: evidence as f32,
            since,
            calls: self.calls.saturating_add(count(n)),
            above: self.above.saturating_add(count(above)),
            seen,
        }
    }

    /// Whether this is the sum after an hour that added to it.
    pub(crate) fn has_grown(&self, before: &Drift) -> bool {
        self.evidence > before.evidence || f64::from(self.evidence) >= MAX_EVIDENCE
    }

    /// What is absorbed into the past is no evidence against it.
    pub(crate) fn settle(&mut self, how: Learn) {
        if how == Learn::Absorb {
            *self = Drift::NONE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An hour of `n` calls of about 20 ms, of which `slow` take 60.
    fn hour(n: u64, slow: u64) -> Histogram {
        let mut hour = Histogram::default();
        (0..n).for_each(|i| hour.record(if i < slow { 60_000 } else { 18_000 + i * 613 % 5_000 }));
        hour
    }

    fn past() -> Distribution {
        let mut past = Distribution::default();
        (0..200).for_each(|i| past.learn(&hour(10, u64::from(i % 2 == 0)), Learn::Usual));
        past
    }

    #[test]
    fn a_small_shift_adds_up_and_the_usual_share_does_not() {
        let past = past();
        let run =
            |slow: u64| (0..5).fold(Drift::NONE, |drift, i| drift.after(&past, &hour(10, slow), i * 3_600));
        assert_eq!(run(1), Drift::NONE);
        let four = run(4);
        assert!(four.evidence > 5.0 && four.above == 20 && four.since == 0, "{four:?}");
        assert!(run(6).evidence > four.evidence);
        let mut settled = four;
        settled.settle(Learn::Absorb);
        assert_eq!(settled, Drift::NONE);
    }

    #[test]
    fn hours_that_waver_by_themselves_count_for_less() {
        let mut wavering = past();
        (0..200).for_each(|_| wavering.spread[HOURS].learn(6.0));
        let (calm, wild) =
            (Drift::NONE.after(&past(), &hour(10, 5), 0), Drift::NONE.after(&wavering, &hour(10, 5), 0));
        assert!(wild.evidence > 0.0 && wild.evidence < calm.evidence / 4.0);
    }
}
