//! How often a pair's calls fail, and are refused.

use serde::{Deserialize, Serialize};

use super::distribution::weight;
use super::{KEEP_PER_HOUR, Learn, Spread};
use crate::grid::LEVELS;
use crate::tails::negative_binomial_upper;

/// Errors among calls, or retries among attempts: a Beta posterior with the prior of Jeffreys (half an error in one call).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Errors {
    errors: f32,
    calls: f32,
    /// Hours with calls.
    hours: f32,
    pub(crate) kept_out: u8,
    /// How much the share of errors varies beyond chance, by level.
    pub(crate) spread: [Spread; LEVELS],
}

impl Errors {
    /// Calls that the share rests on.
    pub(crate) fn calls(&self) -> f64 {
        f64::from(self.calls)
    }

    /// The share of calls that fail.
    pub(crate) fn share(&self) -> f64 {
        (f64::from(self.errors) + 0.5) / (f64::from(self.calls) + 1.0)
    }

    /// Errors the share rests on, with the prior's half: the shape of its posterior.
    pub(crate) fn shape(&self) -> f64 {
        f64::from(self.errors) + 0.5
    }

    /// The probability of so many or more among `calls`: the upper tail of a Gamma-Poisson, in errors divided by how
    /// much more they cluster than chance.
    pub(crate) fn upper_tail(&self, errors: u64, calls: f64, level: usize) -> f64 {
        let inflation = Spread::of(&self.spread, level);
        let n = (errors as f64 / inflation).floor().max(1.0) as u64;
        negative_binomial_upper(n, self.share() * calls / inflation, self.shape())
    }

    /// Learns from a window how much errors cluster.
    pub(crate) fn learn_spread(&mut self, level: usize, errors: u64, calls: u64) {
        let mean = self.share() * calls as f64;
        if mean > 0.0 {
            let off = errors as f64 - mean;
            self.spread[level].learn(off * off / mean);
        }
    }

    pub(crate) fn learn(&mut self, errors: u64, calls: u64, how: Learn) {
        let keep = match how {
            Learn::KeepOut => return,
            Learn::Absorb => KEEP_PER_HOUR * 0.5,
            Learn::Usual => KEEP_PER_HOUR,
        };
        if calls == 0 {
            return;
        }
        let share = if how == Learn::Usual { weight(calls, self.calls(), self.hours) } else { 1.0 };
        self.errors = self.errors * keep + errors as f32 * share;
        self.calls = self.calls * keep + calls as f32 * share;
        self.hours = self.hours * keep + 1.0;
    }
}

/// Refusals of one kind in time: a Gamma posterior of their rate, and the last hours' counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Failures {
    failures: f32,
    hours: f32,
    calls: f32,
    pub(crate) kept_out: u8,
    /// Counts of the last hours, newest first, for what comes slowly.
    recent: [u32; Failures::RECENT],
    /// How much refusals vary beyond chance, by level.
    pub(crate) spread: [Spread; LEVELS],
}

impl Failures {
    /// Hours before the current one that are remembered one by one.
    pub(crate) const RECENT: usize = 3;

    /// Refusals per hour.
    pub(crate) fn rate(&self) -> f64 {
        self.shape() / (f64::from(self.hours) + 1.0)
    }

    /// Refusals that are usual in `hours` with `calls` calls: by the clock or by the calls, whichever is more, so
    /// that they may grow with the calls at the hour of the day when those do.
    pub(crate) fn expected(&self, hours: f64, calls: u64) -> f64 {
        let by_calls = f64::from(self.failures) / (f64::from(self.calls) + 1.0) * calls as f64;
        by_calls.max(self.rate() * hours)
    }

    /// The shape of the rate's posterior. A quarter of a refusal in an hour is known beforehand.
    pub(crate) fn shape(&self) -> f64 {
        f64::from(self.failures) + 0.25
    }

    /// Refusals in the remembered hours.
    pub(crate) fn recent(&self) -> u64 {
        self.recent.iter().map(|n| u64::from(*n)).sum()
    }

    pub(crate) fn learn(&mut self, n: u64, calls: u64, how: Learn) {
        self.recent.rotate_right(1);
        self.recent[0] = u32::try_from(n).unwrap_or(u32::MAX);
        let keep = match how {
            Learn::KeepOut => return,
            Learn::Absorb => KEEP_PER_HOUR * 0.5,
            Learn::Usual => KEEP_PER_HOUR,
        };
        // An hour counts for at most a few more than are usual, or one that nobody reports would blunt the next.
        let most = 4.0 + 4.0 * self.rate();
        let n = if how == Learn::Usual && self.hours >= 24.0 { (n as f64).min(most) } else { n as f64 };
        self.failures = self.failures * keep + n as f32;
        self.hours = self.hours * keep + 1.0;
        self.calls = self.calls * keep + calls as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_without_failures_expects_few_and_fewer_with_time() {
        let mut failures = Failures::default();
        let mut errors = Errors::default();
        assert_eq!((failures.rate(), errors.share()), (0.25, 0.5));
        for _ in 0..100 {
            failures.learn(0, 30, Learn::Usual);
            errors.learn(0, 30, Learn::Usual);
        }
        assert!(failures.rate() < 0.005 && errors.share() < 0.001);
        failures.learn(7, 30, Learn::KeepOut);
        assert!(failures.rate() < 0.005);
        assert_eq!(failures.recent(), 7);
    }
}
