//! Evidence of a change too small for any single hour, summed over hours.

use serde::{Deserialize, Serialize};

/// The sum goes no further, so that it comes down soon after the end. Above every threshold.
const MAX_EVIDENCE: f64 = 40.0;

/// A cumulative sum of log-likelihood ratios that never falls below zero (Page, Biometrika 41, 1954). If nothing
/// changed, it reaches `h` once in `exp(h)` steps or less often (Lorden, Annals of Mathematical Statistics 42, 1971),
/// so the budget gives the threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cusum {
    pub(crate) evidence: f32,
    /// Start of the first hour since the sum was zero.
    pub(crate) since: i64,
    /// What was counted since then.
    pub(crate) observed: f32,
    /// What should have been, or was tried.
    pub(crate) expected: f32,
}

impl Cusum {
    /// The sum after an hour that starts at `start` and adds `gain`.
    pub(crate) fn after(self, gain: f64, observed: f64, expected: f64, start: i64) -> Cusum {
        let evidence = f64::from(self.evidence) + gain;
        if evidence.is_nan() || evidence <= 0.0 {
            return Cusum::default();
        }
        Cusum {
            evidence: evidence.min(MAX_EVIDENCE) as f32,
            since: if self.evidence > 0.0 { self.since } else { start },
            observed: self.observed + observed as f32,
            expected: self.expected + expected as f32,
        }
    }

    /// The probability of a sum as high, in any one hour.
    pub(crate) fn p(self) -> f64 {
        libm::exp(-f64::from(self.evidence))
    }

    /// Whether this is the sum after an hour that added to it.
    pub(crate) fn has_grown(self, before: Cusum) -> bool {
        self.evidence > before.evidence || f64::from(self.evidence) >= MAX_EVIDENCE
    }

    /// Observed as a multiple of expected.
    pub(crate) fn ratio(self) -> f64 {
        f64::from(self.observed) / f64::from(self.expected).max(1e-9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_adds_up_from_zero_and_never_falls_below() {
        let sum = [1.0, -3.0, 2.0, 2.5]
            .into_iter()
            .zip(0..)
            .fold(Cusum::default(), |sum, (gain, hour)| sum.after(gain, 3.0, 2.0, hour));
        assert_eq!((sum.evidence, sum.since, sum.observed, sum.ratio()), (4.5, 2, 6.0, 1.5));
        assert!(sum.after(1.0, 1.0, 1.0, 9).has_grown(sum) && !sum.after(-1.0, 1.0, 1.0, 9).has_grown(sum));
        assert_eq!(sum.after(f64::NAN, 1.0, 1.0, 9), Cusum::default());
    }
}
