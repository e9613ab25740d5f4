//! What an operator may choose, and what follows from it.

use std::time::Duration;

use serde::Serialize;

/// Settings of an engine. Findings depend on these and on the calls, and on nothing else.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// Length of a base window; 1 s to 10 min, anything else is taken as the nearer of the two.
    pub window: Duration,
    /// How long after its window's end a call may arrive and still be counted; at most a day.
    pub lateness: Duration,
    /// How long, from the first call of the log, only to learn: nothing is reported before.
    pub learning: Duration,
    /// Pairs that one engine keeps. Calls of further pairs are counted and not judged.
    pub max_pairs: usize,
    /// Names of operations kept per pair, for the exemplars; calls of further ones show none.
    pub max_operations_per_pair: usize,
    /// Local time: which hour of the day and which day of the week it is.
    pub time_zone: crate::Zone,
    /// The budget: false findings a day that are acceptable over the whole mesh. It is divided among all tests
    /// of a day, and so gives the tail probability below which a window is called unusual.
    pub budget: f64,
    /// What single detectors and pairs get of the budget.
    pub sensitivity: Vec<crate::Sensitivity>,
    /// Whether to keep the features of closed windows for [`crate::Engine::take_features`].
    pub collect_features: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            window: Duration::from_secs(10),
            lateness: Duration::from_secs(10),
            learning: Duration::from_secs(86_400),
            max_pairs: 10_000,
            max_operations_per_pair: 32,
            time_zone: crate::Zone::utc(),
            budget: 0.33,
            sensitivity: Vec::new(),
            collect_features: false,
        }
    }
}

/// Tests that share the budget: spike, drop, silence, latency and its drift, errors, sizes, tokens, policy, TLS,
/// hours of the week, scans. The horizons of a test look at the same calls and count once; streams without any event
/// confirm that this is enough (`null.rs`).
const SHARES: f64 = 12.0;

impl Settings {
    /// `lapwing`, its version, and a hash of the settings that findings depend on.
    pub fn made_by(&self) -> String {
        let relevant = Settings { collect_features: false, ..self.clone() };
        let bytes = postcard::to_stdvec(&relevant).expect("plain numbers always encode");
        let hash = crate::hash::fnv(&[&bytes]);
        format!("lapwing {} settings {hash:016x}", env!("CARGO_PKG_VERSION"))
    }

    /// How long the windows of [`crate::FeatureRow`] are: ten minutes, in whole base windows.
    pub fn feature_window(&self) -> Duration {
        let grid = crate::grid::Grid::new(self);
        Duration::from_micros(grid.lengths[crate::grid::TENS].unsigned_abs())
    }

    /// The tail probability below which one of `tests_per_day` tests of each of `pairs` pairs is unusual: the
    /// budget, divided by the number of tests a day (Bonferroni). Tests of one pair on several horizons are
    /// far from independent, so this is on the safe side. The number of pairs counts in powers of two, or the
    /// judgement would depend on every single pair that comes.
    pub(crate) fn tail(&self, pairs: u64, tests_per_day: f64) -> f64 {
        let pairs = pairs.clamp(MIN_SHARERS, 1 << 40).next_power_of_two() as f64;
        (self.budget.clamp(1e-6, 1e6) / (SHARES * pairs * tests_per_day.max(1.0))).clamp(1e-15, 0.01)
    }
}

/// Pairs that share the budget at least: the few of a young mesh will be more.
const MIN_SHARERS: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collecting_features_does_not_change_who_made_a_finding() {
        let plain = Settings::default();
        assert_eq!(plain.made_by(), Settings { collect_features: true, ..plain.clone() }.made_by());
        let east = crate::Zone::parse("+01:00").unwrap();
        assert_ne!(plain.made_by(), Settings { time_zone: east, ..plain.clone() }.made_by());
    }

    #[test]
    fn a_larger_budget_and_fewer_tests_both_raise_the_tail() {
        let plain = Settings::default();
        assert!(plain.tail(30, 24.0) > plain.tail(30, 144.0));
        assert!(plain.tail(30, 24.0) > plain.tail(3_000, 24.0));
        assert!(Settings { budget: 10.0, ..plain.clone() }.tail(30, 24.0) > plain.tail(30, 24.0));
    }
}
