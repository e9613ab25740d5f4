//! What is usual for a pair: learned an hour at a time, forgotten slowly, from hours that were not unusual.

pub(crate) mod calibration;
pub(crate) mod cusum;
pub(crate) mod days;
pub(crate) mod distribution;
pub(crate) mod drift;
pub(crate) mod failures;
pub(crate) mod operations;
pub(crate) mod rhythm;
pub(crate) mod rollout;
pub(crate) mod volume;

use serde::{Deserialize, Serialize};

use crate::grid::{LEVELS, TENS};

pub(crate) use calibration::Calibration;
pub(crate) use cusum::Cusum;
pub(crate) use days::Days;
pub(crate) use distribution::Distribution;
pub(crate) use drift::Drift;
pub(crate) use failures::{Errors, Failures};
pub(crate) use operations::Operations;
pub(crate) use rhythm::Rhythm;
pub(crate) use rollout::Rollout;
pub(crate) use volume::Volume;

/// Hours in a row that an aspect is kept out of its baseline. A condition that lasts longer has been
/// reported and is how things are now.
pub(crate) const MAX_KEPT_OUT_HOURS: u8 = 6;

/// What is left of an old observation after an hour: half after six days.
pub(crate) const KEEP_PER_HOUR: f32 = 0.995_2;

/// What a spread remembers from one window to the next.
const KEEP_PER_WINDOW: f32 = 0.998;
/// A single wild window must not blind the pair.
const MAX_SQUARE: f64 = 25.0;

/// How much wider than the model says a pair's own residuals are, as a ratio of variances, at least 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    squares: f32,
    n: f32,
}

impl Spread {
    pub(crate) const NONE: Spread = Spread { squares: 0.0, n: 0.0 };

    /// Learns a squared standardised residual, which is 1 on average if the model is right.
    pub(crate) fn learn(&mut self, square: f64) {
        self.squares = self.squares * KEEP_PER_WINDOW + square.clamp(0.0, MAX_SQUARE) as f32;
        self.n = self.n * KEEP_PER_WINDOW + 1.0;
    }

    /// The ratio for a level. Windows too short to be learned from cluster as those of ten minutes do.
    pub(crate) fn of(spreads: &[Spread; LEVELS], level: usize) -> f64 {
        spreads[level.max(TENS)].ratio()
    }

    /// The ratio, drawn towards 1 by ten windows' worth of trust in the model.
    pub(crate) fn ratio(self) -> f64 {
        ((f64::from(self.squares) + 10.0) / (f64::from(self.n) + 10.0)).max(1.0)
    }
}

/// Whether to learn an hour, or to keep it out because it was found unusual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learn {
    Usual,
    KeepOut,
    /// It has been unusual for so long that it is the new usual: forget faster.
    Absorb,
}

/// Decides, and counts the hours in a row in `kept_out`.
pub(crate) fn decide(unusual: bool, kept_out: &mut u8) -> Learn {
    match (unusual, *kept_out) {
        (false, _) => {
            *kept_out = 0;
            Learn::Usual
        }
        (true, n) if n < MAX_KEPT_OUT_HOURS => {
            *kept_out += 1;
            Learn::KeepOut
        }
        (true, _) => Learn::Absorb,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_absorbed_after_six_hours() {
        let mut kept_out = 0;
        let decisions: Vec<Learn> = (0..8).map(|_| decide(true, &mut kept_out)).collect();
        assert_eq!(decisions[..6], [Learn::KeepOut; 6]);
        assert_eq!(decisions[6..], [Learn::Absorb; 2]);
        assert_eq!(decide(false, &mut kept_out), Learn::Usual);
        assert_eq!(kept_out, 0);
    }

    #[test]
    fn spread_grows_with_wild_residuals_and_is_never_below_one() {
        let mut spread = Spread::default();
        (0..100).for_each(|_| spread.learn(0.1));
        assert_eq!(spread.ratio(), 1.0);
        (0..1_000).for_each(|_| spread.learn(9.0));
        assert!(spread.ratio() > 5.0);
    }
}
