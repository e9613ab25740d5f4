//! How long a pair's calls take, and how large they are.

use serde::{Deserialize, Serialize};

use super::{KEEP_PER_HOUR, Learn, Spread};
use crate::counts::{BUCKETS, Histogram, middle, quantile_ms};
use crate::grid::LEVELS;

/// Durations or sizes of the past, by bucket, forgotten by half in six days.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Distribution {
    /// Buckets from `first` on; those outside are empty.
    first: u8,
    weights: Vec<f32>,
    total: f32,
    /// Hours with calls that it rests on.
    hours: f32,
    pub(crate) kept_out: u8,
    /// How much the share of slow or large calls varies beyond chance, by level.
    pub(crate) spread: [Spread; LEVELS],
}

impl Default for Distribution {
    fn default() -> Distribution {
        Distribution::EMPTY
    }
}

/// A boundary between buckets and the share of past calls above it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Boundary {
    /// The first bucket above.
    pub(crate) bucket: usize,
    /// The share of past calls above, 0 to 1, never quite either.
    pub(crate) share: f64,
}

/// How much each of an hour's `n` values counts where `hours` hours had `total`: an hour weighs at most three times
/// what hours do on average. So a flood within a day cannot take the place of a week.
pub(crate) fn weight(n: u64, total: f64, hours: f32) -> f32 {
    const MIN_HOURS: f32 = 24.0;
    const MOST: f64 = 3.0;
    if hours < MIN_HOURS { 1.0 } else { (MOST * total / f64::from(hours) / n.max(1) as f64).min(1.0) as f32 }
}

impl Distribution {
    pub(crate) const EMPTY: Distribution = Distribution {
        first: 0,
        weights: Vec::new(),
        total: 0.0,
        hours: 0.0,
        kept_out: 0,
        spread: [Spread::NONE; LEVELS],
    };

    /// Calls that the baseline rests on.
    pub(crate) fn total(&self) -> f64 {
        f64::from(self.total)
    }

    fn iter(&self) -> impl Iterator<Item = (usize, f64)> + Clone {
        let first = usize::from(self.first);
        self.weights.iter().enumerate().map(move |(i, w)| (first + i, f64::from(*w)))
    }

    /// The duration in milliseconds (size in thousand bytes) that `share` of the past calls do not exceed.
    pub(crate) fn quantile_ms(&self, share: f64) -> Option<f64> {
        quantile_ms(self.iter(), share)
    }

    /// The lowest boundary with at most `share` of the past calls above it.
    pub(crate) fn boundary(&self, share: f64) -> Boundary {
        let mut above = self.total();
        let share_of = |above: f64| (above.max(0.0) + 1.0) / (self.total() + 2.0);
        for (bucket, weight) in self.iter() {
            if above <= share * self.total() {
                return Boundary { bucket, share: share_of(above) };
            }
            above -= weight;
        }
        Boundary { bucket: usize::from(self.first) + self.weights.len(), share: share_of(0.0) }
    }

    /// The mean, taking each bucket at its middle, in the histogram's unit; 0 if nothing is known.
    pub(crate) fn mean(&self) -> f64 {
        let sum: f64 = self.iter().map(|(bucket, weight)| middle(bucket) * weight).sum();
        sum / self.total().max(1.0)
    }

    /// Learns the values of an hour.
    pub(crate) fn learn(&mut self, hour: &Histogram, how: Learn) {
        let keep = match how {
            Learn::KeepOut => return,
            Learn::Absorb => KEEP_PER_HOUR * 0.5,
            Learn::Usual => KEEP_PER_HOUR,
        };
        if hour.total() == 0 {
            return;
        }
        let share = if how == Learn::Usual { weight(hour.total(), self.total(), self.hours) } else { 1.0 };
        self.weights.iter_mut().for_each(|w| *w *= keep);
        self.hours = self.hours * keep + 1.0;
        for (bucket, n) in hour.iter() {
            self.reach(bucket);
            self.weights[bucket - usize::from(self.first)] += n as f32 * share;
        }
        self.total = self.weights.iter().sum();
    }

    /// Makes room for a bucket.
    fn reach(&mut self, bucket: usize) {
        let bucket = bucket.min(BUCKETS - 1);
        if self.weights.is_empty() {
            self.first = bucket as u8;
        }
        let first = usize::from(self.first);
        if bucket < first {
            self.weights.splice(0..0, std::iter::repeat_n(0.0, first - bucket));
            self.first = bucket as u8;
        } else if bucket >= first + self.weights.len() {
            self.weights.resize(bucket - first + 1, 0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(durations_ms: impl Iterator<Item = u64>) -> Histogram {
        let mut hour = Histogram::default();
        durations_ms.for_each(|ms| hour.record(ms * 1_000));
        hour
    }

    #[test]
    fn the_boundary_leaves_about_its_share_above() {
        let mut latency = Distribution::default();
        latency.learn(&hour(1..=1_000), Learn::Usual);
        let b = latency.boundary(0.1);
        assert!((0.0..=0.101).contains(&b.share), "{b:?}");
        assert!((latency.quantile_ms(0.5).unwrap() - 500.0).abs() < 20.0);
        assert_eq!(hour(1..=1_000).from(b.bucket) as f64, (b.share * 1_002.0 - 1.0).round());
    }

    #[test]
    fn a_flood_that_nobody_reports_takes_less_than_two_fifths_of_the_weight_in_a_day() {
        for n in [50, 5_000] {
            let mut latency = Distribution::default();
            (0..14 * 24).for_each(|_| latency.learn(&hour([20; 50].into_iter()), Learn::Usual));
            let mut flood = Histogram::default();
            flood.put_many(900_000, n);
            (0..24).for_each(|_| latency.learn(&flood, Learn::Usual));
            let slow = latency.boundary(0.4);
            assert!(latency.quantile_ms(0.6).unwrap() < 30.0, "{slow:?}");
        }
    }

    #[test]
    fn a_lasting_shift_wins_within_hours_of_being_absorbed() {
        let mut latency = Distribution::default();
        (0..100).for_each(|_| latency.learn(&hour([20; 50].into_iter()), Learn::Usual));
        latency.learn(&hour([200; 50].into_iter()), Learn::KeepOut);
        assert!(latency.quantile_ms(0.5).unwrap() < 30.0);
        (0..8).for_each(|_| latency.learn(&hour([200; 50].into_iter()), Learn::Absorb));
        assert!(latency.quantile_ms(0.5).unwrap() > 150.0);
    }
}
