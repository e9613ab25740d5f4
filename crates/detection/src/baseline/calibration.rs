//! How far the model's small probabilities are to be trusted, learned from the pair's own windows.

use serde::{Deserialize, Serialize};

use crate::grid::{LEVELS, TENS};

/// The tail of a test's own scores.
///
/// If the model is right, `-ln p` of ordinary windows is exponential with mean 1, and so is what exceeds any
/// threshold. What exceeds one in ten is counted, and its mean takes the place of 1 beyond: the peaks over threshold
/// of extreme value theory with shape zero (Pickands, Annals of Statistics 3, 1975; for streams: Siffer et al., KDD
/// 2017). Never below 1, so a test can become more careful than its model and not less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Calibration {
    excess: f32,
    n: f32,
}

/// Minus the logarithm of one in ten.
const THRESHOLD: f64 = std::f64::consts::LN_10;
/// Exceedances' worth of trust in the model.
const TRUST: f64 = 10.0;
/// What an exceedance leaves of the others: a few hundred count.
const KEEP: f32 = 0.995;
/// One wild window must not blind the pair.
const MAX_EXCESS: f64 = 12.0;

impl Calibration {
    /// The calibration of a level. Windows too short to be learned from are as those of ten minutes.
    pub(crate) fn of(levels: &[Calibration; LEVELS], level: usize) -> Calibration {
        levels[level.max(TENS)]
    }

    /// Learns the probability of a window that was not found unusual.
    pub(crate) fn learn(&mut self, p: f64) {
        let beyond = -libm::log(p.max(1e-300)) - THRESHOLD;
        if beyond > 0.0 {
            self.excess = self.excess * KEEP + beyond.min(MAX_EXCESS) as f32;
            self.n = self.n * KEEP + 1.0;
        }
    }

    /// The probability, given the tail as it is.
    pub(crate) fn correct(self, p: f64) -> f64 {
        let mean = (f64::from(self.excess) + TRUST) / (f64::from(self.n) + TRUST);
        let beyond = -libm::log(p.max(1e-300)) - THRESHOLD;
        if beyond <= 0.0 { p } else { libm::exp(-THRESHOLD - beyond / mean.max(1.0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_as_the_model_says_change_nothing_and_heavier_ones_make_it_careful() {
        let mut honest = Calibration::default();
        let mut heavy = Calibration::default();
        for i in 0..10_000 {
            let uniform = (f64::from(i * 7_919 % 10_000) + 0.5) / 10_000.0;
            honest.learn(uniform);
            heavy.learn(uniform.powi(3));
        }
        assert!((honest.correct(1e-9).log10() + 9.0).abs() < 0.7, "{}", honest.correct(1e-9));
        assert!(heavy.correct(1e-9) > 1e-5 && heavy.correct(1e-30) < heavy.correct(1e-20));
        assert_eq!(heavy.correct(0.3), 0.3);
    }
}
