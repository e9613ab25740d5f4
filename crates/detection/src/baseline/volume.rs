//! How many calls a pair makes, by hour of the day and kind of day.

mod hours;

pub use hours::HourOfWeek;
use serde::{Deserialize, Serialize};

use super::{Calibration, Learn};
use crate::grid::{Grid, HOURS, LEVELS, SLOTS};

/// Learned call rates.
///
/// Each slot's rate has a Gamma posterior (shape: calls seen plus one; exposure: hours seen plus one call's
/// worth of the prior), so a young slot is wide and an old one narrow. The prior is the same hour on the
/// other kind of day, or the overall level. A slowly moving ratio carries growth and decline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Volume {
    calls: Vec<f32>,
    hours: Vec<f32>,
    total_calls: f32,
    total_hours: f32,
    recent_observed: f32,
    recent_expected: f32,
    excess: [Excess; LEVELS],
    /// Of the tests for more calls and for fewer.
    pub(crate) more: [Calibration; LEVELS],
    pub(crate) fewer: [Calibration; LEVELS],
    pub(crate) kept_out: u8,
    kept_out_observed: f32,
    kept_out_expected: f32,
    /// What the current hour is judged against.
    pub(crate) now: Rates,
}

/// Calls an hour that are usual now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rates {
    /// The best guess.
    pub(crate) expected: f64,
    /// The lowest that timing explains: a job may come an hour early or late, so the least of this hour and
    /// its neighbours counts, or the three together where they hardly differ.
    pub(crate) low: f64,
    /// The highest that timing explains.
    pub(crate) high: f64,
    /// One over the shape of the posterior that `low` comes from.
    pub(crate) low_doubt: f64,
    /// The same of `high`.
    pub(crate) high_doubt: f64,
}

/// How much counts in windows of a level vary beyond Poisson: by the method of moments,
/// the sum of `(n - mean)² - n` over the sum of `mean²`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Excess {
    over: f32,
    square: f32,
}

/// What an hour had, level by level: the sum of squared counts of its windows.
pub(crate) type Squares = [u64; LEVELS];

/// A slot forgets an old day: about two working weeks count.
const KEEP_PER_VISIT: f32 = 0.93;
/// The overall level forgets half in two weeks.
const KEEP_LEVEL: f32 = 0.998;
/// The excess forgets half in a week of hours.
const KEEP_EXCESS: f32 = 0.996;
/// Excess to begin with.
const EXCESS_PRIOR: f64 = 0.1;
/// How many windows of one call that counts for.
const EXCESS_WEIGHT: f64 = 10.0;
/// Growth is measured over about a day.
const KEEP_RECENT: f32 = 0.97;
/// Calls' worth of doubt about growth.
const GROWTH_DOUBT: f64 = 20.0;

impl Default for Volume {
    fn default() -> Volume {
        Volume {
            calls: vec![0.0; SLOTS],
            hours: vec![0.0; SLOTS],
            total_calls: 0.0,
            total_hours: 0.0,
            recent_observed: 0.0,
            recent_expected: 0.0,
            excess: [Excess::default(); LEVELS],
            more: [Calibration::default(); LEVELS],
            fewer: [Calibration::default(); LEVELS],
            kept_out: 0,
            kept_out_observed: 0.0,
            kept_out_expected: 0.0,
            now: Rates::default(),
        }
    }
}

impl Volume {
    /// Posterior mean of a slot's rate per hour, and one over its shape.
    fn slot(&self, slot: usize) -> (f64, f64) {
        let other = (slot + SLOTS / 2) % SLOTS;
        let prior = if self.hours[other] > 0.5 {
            f64::from(self.calls[other]) / f64::from(self.hours[other])
        } else {
            f64::from(self.total_calls) / f64::from(self.total_hours).max(1.0)
        };
        let shape = f64::from(self.calls[slot]) + 1.0;
        (shape / (f64::from(self.hours[slot]) + 1.0 / prior.max(0.02)), 1.0 / shape)
    }

    /// Calls an hour at the time of day and kind of day of `at`, without growth.
    pub(crate) fn slot_rate(&self, grid: &Grid, at: i64) -> f64 {
        self.slot(grid.slot(at)).0
    }

    /// Calls in the hours watched at the time of day and kind of day of `at`, an hour early or late included, and how
    /// many hours that were.
    pub(crate) fn around(&self, grid: &Grid, at: i64) -> (f64, f64) {
        let slots = [-1, 0, 1].map(|h| grid.slot(at + h * crate::grid::HOUR));
        let sum = |of: &[f32]| slots.iter().map(|slot| f64::from(of[*slot])).sum();
        (sum(&self.calls), sum(&self.hours))
    }

    /// Calls an hour over all hours.
    pub(crate) fn overall(&self) -> f64 {
        f64::from(self.total_calls) / f64::from(self.total_hours).max(1.0)
    }

    /// Calls by what the hours lead to expect, over about the last day.
    pub(crate) fn growth(&self) -> f64 {
        let (o, e) = (f64::from(self.recent_observed), f64::from(self.recent_expected));
        ((o + GROWTH_DOUBT) / (e + GROWTH_DOUBT)).clamp(0.05, 20.0)
    }

    /// Works out what is usual in the hour of local time that `at` falls in.
    pub(crate) fn look_up(&mut self, grid: &Grid, at: i64) {
        let growth = self.growth();
        let slots = [-1, 0, 1].map(|h| self.slot(grid.slot(at + h * crate::grid::HOUR)));
        let mut now = Rates { expected: slots[1].0 * growth, low: f64::INFINITY, ..Rates::default() };
        for (rate, doubt) in slots {
            if rate < now.low {
                (now.low, now.low_doubt) = (rate, doubt);
            }
            if rate > now.high {
                (now.high, now.high_doubt) = (rate, doubt);
            }
        }
        // Where neighbours agree there is no job to come early or late: the three together say it best.
        if 2.0 * now.low >= now.high {
            let sum: f64 = slots.iter().map(|(rate, _)| rate).sum();
            now.low = sum / 3.0;
            // Variances add, so an hour that was never seen keeps the three as doubtful as it is.
            now.low_doubt = slots.iter().map(|(rate, doubt)| rate * rate * doubt).sum::<f64>() / (sum * sum);
        }
        // Growth makes room and never takes it: a client that comes back to its old level is no surprise.
        now.low *= growth.min(1.0);
        now.high *= growth.max(1.0);
        self.now = now;
    }

    /// Size of the negative binomial for counts of a level, given the doubt about the rate.
    pub(crate) fn size(&self, level: usize, doubt: f64) -> f64 {
        1.0 / (doubt + self.excess[level].ratio()).max(1e-6)
    }

    /// Learns an hour, or counts it as kept out.
    pub(crate) fn learn(&mut self, grid: &Grid, start: i64, calls: u64, squares: &Squares, how: Learn) {
        let slot = grid.slot(start);
        let (expected, doubt) = self.slot(slot);
        let settled = self.hours[slot] > 0.5;
        let observed = if settled && how == Learn::Usual {
            (calls as f64).min(most_learned(expected * self.growth()))
        } else {
            calls as f64
        };
        match how {
            Learn::KeepOut => {
                self.kept_out_observed += observed as f32;
                self.kept_out_expected += expected as f32;
                return;
            }
            Learn::Absorb => {
                self.recent_observed = self.kept_out_observed;
                self.recent_expected = self.kept_out_expected;
            }
            Learn::Usual => {
                self.kept_out_observed = 0.0;
                self.kept_out_expected = 0.0;
            }
        }
        if settled {
            let hourly = expected * self.growth();
            for (level, (excess, squares)) in self.excess.iter_mut().zip(squares).enumerate() {
                let windows = 1.0 / grid.hours(level);
                excess.learn(observed, *squares as f64, hourly / windows, windows, doubt);
            }
            self.recent_observed = self.recent_observed * KEEP_RECENT + observed as f32;
            self.recent_expected = self.recent_expected * KEEP_RECENT + expected as f32;
        }
        self.calls[slot] = self.calls[slot] * KEEP_PER_VISIT + observed as f32;
        self.hours[slot] = self.hours[slot] * KEEP_PER_VISIT + 1.0;
        self.total_calls = self.total_calls * KEEP_LEVEL + observed as f32;
        self.total_hours = self.total_hours * KEEP_LEVEL + 1.0;
    }

    /// The count of a level that is usual at most: the mean and three standard deviations.
    pub(crate) fn usual_most(&self, grid: &Grid, level: usize) -> f64 {
        let mean = self.now.high * grid.hours(level);
        mean + 3.0 * (mean + mean * mean / self.size(level, self.now.high_doubt)).sqrt()
    }

    /// The count that is usual at least in windows of `hours`.
    pub(crate) fn usual_least(&self, hours: f64) -> f64 {
        let mean = self.now.low * hours;
        (mean - 3.0 * (mean + mean * mean / self.size(HOURS, self.now.low_doubt)).sqrt()).max(0.0)
    }
}

/// As much of an hour's calls as is learned where so many are usual: half as many again, and three standard
/// deviations of chance. So nobody moves what is usual far within a day without being reported, not even with
/// findings turned off; what is reported and lasts is absorbed as it is.
fn most_learned(usual: f64) -> f64 {
    1.5 * usual + 3.0 * (usual + 1.0).sqrt()
}

impl Excess {
    /// Learns the windows of an hour from their sum and their sum of squares, so that empty ones cost nothing.
    /// What the mean itself is in doubt by is no excess: it is added where the excess is used.
    fn learn(&mut self, sum: f64, squares: f64, mean: f64, windows: f64, doubt: f64) {
        let square = windows * mean * mean;
        let over = squares - 2.0 * mean * sum + square * (1.0 - doubt) - windows * mean;
        self.over = self.over * KEEP_EXCESS + over as f32;
        self.square = self.square * KEEP_EXCESS + (windows * mean * mean) as f32;
    }

    /// The excess, drawn towards a tenth by ten windows of one call.
    fn ratio(self) -> f64 {
        ((f64::from(self.over) + EXCESS_PRIOR * EXCESS_WEIGHT) / (f64::from(self.square) + EXCESS_WEIGHT))
            .clamp(0.005, 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::grid::HOUR;

    fn learn(volume: &mut Volume, hours: std::ops::Range<i64>, rate: impl Fn(i64) -> u64, how: Learn) {
        let grid = Grid::new(&Settings::default());
        for hour in hours {
            let n = rate(hour);
            volume.learn(&grid, hour * HOUR, n, &[n, n, n * n / 6, n * n], how);
        }
    }

    fn at(volume: &mut Volume, hour: i64) -> Rates {
        volume.look_up(&Grid::new(&Settings::default()), hour * HOUR);
        volume.now
    }

    #[test]
    fn a_nightly_job_is_learned_by_its_hour() {
        let mut volume = Volume::default();
        learn(&mut volume, 0..7 * 24, |h| if h % 24 == 2 { 110 } else { 1 }, Learn::Usual);
        let job = at(&mut volume, 7 * 24 + 2);
        assert!((80.0..130.0).contains(&job.expected), "{job:?}");
        let noon = at(&mut volume, 7 * 24 + 12);
        assert!(noon.high < 3.0, "{noon:?}");
        // Late by an hour is no spike, and its absence within the hour is no silence.
        assert!(at(&mut volume, 7 * 24 + 3).high > 80.0 && job.low < 3.0);
    }

    #[test]
    fn a_lasting_shift_becomes_the_new_level_once_absorbed() {
        let mut volume = Volume::default();
        learn(&mut volume, 0..168, |_| 20, Learn::Usual);
        learn(&mut volume, 168..174, |_| 60, Learn::KeepOut);
        assert!(at(&mut volume, 175).expected < 22.0);
        learn(&mut volume, 174..175, |_| 60, Learn::Absorb);
        assert!((45.0..65.0).contains(&at(&mut volume, 175).expected), "{:?}", volume.now);
    }

    #[test]
    fn a_flood_that_nobody_reports_at_most_doubles_what_is_usual_in_a_day() {
        for (usual, flood) in [(400, 1_000_000), (400, 900), (2_000, 5_000)] {
            let mut volume = Volume::default();
            learn(&mut volume, 0..14 * 24, |_| usual, Learn::Usual);
            let before = at(&mut volume, 14 * 24).expected;
            learn(&mut volume, 14 * 24..15 * 24, |_| flood, Learn::Usual);
            let after = at(&mut volume, 15 * 24).expected;
            assert!(after <= 2.0 * before, "{before} to {after}");
        }
    }

    #[test]
    fn a_young_slot_is_wide() {
        let mut volume = Volume::default();
        learn(&mut volume, 0..2, |_| 100, Learn::Usual);
        assert!(at(&mut volume, 10).high_doubt > 0.9);
    }
}
