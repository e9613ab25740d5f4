//! When a pair's calls come: whether there is a clock behind them.

use serde::{Deserialize, Serialize};

use crate::grid::HOUR;

/// Pauses remembered.
const PAUSES: usize = 20;
/// Pauses that a rhythm must rest on.
const MIN_PAUSES: usize = 12;
/// The longest pause of a rhythm is at most this many times the shortest.
const MAX_RANGE: u32 = 8;
/// A pause as long as this ends a rhythm.
const MAX_PAUSE: i64 = 6 * HOUR;
/// Rhythms of a pair that are remembered; of one with more, none is a surprise.
const MAX_HABITS: usize = 4;
/// Periods this near to each other, as a ratio, are one.
const SAME: f64 = 1.2;
/// What a burst leaves of the mean of those before.
const KEEP: f32 = 0.9;

/// The latest pauses of a pair, and the rhythms that it is known to have.
///
/// A *burst* is one base window with calls, or several without a pause between them. What is measured is the time from the end of
/// the first empty window after a burst to the next call: calls that come by chance (a Poisson process) make it
/// exponential whatever the windows are, because such calls have no memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rhythm {
    /// Milliseconds, the newest last.
    pauses: Vec<u32>,
    /// From the first call of a burst to that of the next, milliseconds, summed over the pauses.
    periods: Vec<u32>,
    /// First call of the latest burst.
    began_at: i64,
    /// End of its last window; 0 before the first.
    until: i64,
    /// Calls and bytes of a burst, on average.
    calls: f32,
    bytes: f32,
    /// Known periods, milliseconds.
    habits: Vec<u32>,
    /// Bursts in a row without a rhythm, and whether there ever were enough of them to say that the pair has none.
    uneven: u8,
    pub(crate) is_irregular: bool,
}

/// A rhythm that was found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Beat {
    /// Milliseconds from burst to burst.
    pub(crate) period_ms: f64,
    /// Standard deviation of the period, as a share of it.
    pub(crate) jitter: f64,
    /// Probability of pauses as even as these, if calls come by chance.
    pub(crate) p: f64,
    pub(crate) bursts: usize,
    pub(crate) calls_per_burst: f64,
    pub(crate) bytes_per_burst: f64,
}

impl Rhythm {
    /// Takes in a base window `[start, end)` with calls, the first at `first_at`; windows come in order.
    pub(crate) fn see(&mut self, start: i64, end: i64, first_at: i64, calls: u64, bytes: u64) {
        let (burst_goes_on, first) = (start <= self.until, self.until == 0);
        if burst_goes_on && !first {
            self.until = end;
            self.calls += (1.0 - KEEP) * calls as f32;
            self.bytes += (1.0 - KEEP) * bytes as f32;
            return;
        }
        let pause = first_at - self.until - (end - start);
        if first || pause > MAX_PAUSE {
            self.pauses.clear();
            self.periods.clear();
            (self.calls, self.bytes) = (calls as f32, bytes as f32);
        } else {
            if self.pauses.len() >= PAUSES {
                self.pauses.remove(0);
                self.periods.remove(0);
            }
            let ms = |micros: i64| u32::try_from(micros.max(0) / 1_000).unwrap_or(u32::MAX);
            self.pauses.push(ms(pause));
            self.periods.push(ms(first_at - self.began_at));
            self.calls = self.calls * KEEP + (1.0 - KEEP) * calls as f32;
            self.bytes = self.bytes * KEEP + (1.0 - KEEP) * bytes as f32;
        }
        (self.began_at, self.until) = (first_at, end);
    }

    /// Whether a window that starts at `start` begins a burst.
    pub(crate) fn begins(&self, start: i64) -> bool {
        start > self.until
    }

    /// Whether one more pause can make a rhythm.
    pub(crate) fn may_beat(&self) -> bool {
        let (least, most) =
            self.pauses.iter().skip(1).fold((u32::MAX, 0), |(l, m), p| (l.min(*p), m.max(*p)));
        self.pauses.len() + 1 >= MIN_PAUSES && most / MAX_RANGE <= least
    }

    /// The rhythm of the latest pauses; `None` if there are too few.
    ///
    /// The test of exponential intervals by their Gamma shape (Moran, JRSS B 13, 1951; Bartlett's statistic):
    /// `2 n (ln mean - mean ln) / (1 + (n + 1) / 6n)` is chi-squared with `n - 1` degrees of freedom if calls come
    /// by chance, and near zero if a clock sends them. The lower tail is bounded after Chernoff, so that it is never
    /// too small.
    pub(crate) fn beat(&self) -> Option<Beat> {
        if self.pauses.len() < MIN_PAUSES {
            return None;
        }
        let (least, most) = self.pauses.iter().fold((u32::MAX, 0), |(l, m), p| (l.min(*p), m.max(*p)));
        let n = self.pauses.len() as f64;
        if most / MAX_RANGE > least {
            // Far from even: not worth logarithms.
            return Some(Beat { jitter: 1.0, p: 1.0, ..Beat::default() });
        }
        let values = self.pauses.iter().map(|ms| f64::from(*ms).max(1.0));
        let mean = values.clone().sum::<f64>() / n;
        let logs = values.map(libm::log).sum::<f64>() / n;
        let statistic = 2.0 * n * (libm::log(mean) - logs).max(1e-9) / (1.0 + (n + 1.0) / (6.0 * n));
        let ratio = statistic / (n - 1.0);
        let p = if ratio < 1.0 { libm::exp((n - 1.0) / 2.0 * (1.0 - ratio + libm::log(ratio))) } else { 1.0 };
        let period = self.periods.iter().map(|ms| f64::from(*ms)).sum::<f64>() / n;
        let squares = self.periods.iter().map(|ms| (f64::from(*ms) - period) * (f64::from(*ms) - period));
        Some(Beat {
            period_ms: period,
            jitter: (squares.sum::<f64>() / n).sqrt() / period.max(1.0),
            p,
            bursts: self.pauses.len(),
            calls_per_burst: f64::from(self.calls),
            bytes_per_burst: f64::from(self.bytes),
        })
    }

    /// Counts a burst with a rhythm or without. While one takes the place of another, the pauses of both are mixed;
    /// that is not having none.
    pub(crate) fn note(&mut self, even: bool) {
        self.uneven = if even { 0 } else { self.uneven.saturating_add(1) };
        self.is_irregular |= usize::from(self.uneven) >= 2 * PAUSES;
    }

    /// Whether the pair is known to have a rhythm of about this period.
    pub(crate) fn is_habit(&self, period_ms: f64) -> bool {
        let near = |habit: &u32| {
            let ratio = f64::from(*habit) / period_ms.max(1.0);
            (1.0 / SAME..=SAME).contains(&ratio)
        };
        self.habits.len() >= MAX_HABITS || self.habits.iter().any(near)
    }

    /// Remembers a rhythm: it has been reported, or was there while lapwing only learned.
    pub(crate) fn settle(&mut self, period_ms: f64) {
        if !self.is_habit(period_ms) {
            self.habits.push(period_ms as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::SECOND;

    /// What is seen of single calls at these seconds.
    fn rhythm(seconds: impl Iterator<Item = i64>) -> Rhythm {
        let mut rhythm = Rhythm::default();
        for at in seconds.map(|s| s * SECOND) {
            let start = at / (10 * SECOND) * 10 * SECOND;
            rhythm.see(start, start + 10 * SECOND, at, 1, 500);
        }
        rhythm
    }

    #[test]
    fn a_clock_is_heard_through_jitter_and_chance_is_not() {
        let even = rhythm((1..30).map(|i| 60 * i)).beat().unwrap();
        assert!(even.p < 1e-9 && (even.period_ms - 60_000.0).abs() < 1.0 && even.jitter < 0.01, "{even:?}");
        let shaken = rhythm((1..30).map(|i| 300 * i + (i * 7_919) % 60)).beat().unwrap();
        assert!(shaken.p < 1e-6 && shaken.p > even.p, "{shaken:?}");
        let mut at = 100;
        let chance = (1..40_u64).map(|i| {
            let uniform = (crate::hash::mix(i) >> 11) as f64 / (1_u64 << 53) as f64;
            at += 1 + (-300.0 * (1.0 - uniform).ln()) as i64;
            at
        });
        assert!(rhythm(chance).beat().unwrap().p > 1e-3);
        assert_eq!(rhythm((1..10).map(|i| 60 * i)).beat(), None);
    }

    #[test]
    fn a_rhythm_is_known_once_it_is_settled_and_a_long_pause_begins_anew() {
        let mut rhythm = rhythm((1..30).map(|i| 60 * i));
        assert!(!rhythm.is_habit(60_000.0));
        rhythm.settle(60_000.0);
        assert!(rhythm.is_habit(66_000.0) && !rhythm.is_habit(120_000.0));
        rhythm.see(9 * HOUR, 9 * HOUR + 10 * SECOND, 9 * HOUR, 1, 1);
        assert_eq!((rhythm.beat(), rhythm.is_habit(60_000.0)), (None, true));
    }
}
