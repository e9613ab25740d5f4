//! How many bytes a day carries.

use serde::{Deserialize, Serialize};

use super::Volume;
use crate::grid::{Grid, HOUR};

/// What a day forgets of those before: about three weeks count.
const KEEP_PER_DAY: f32 = 0.95;
/// Hours that a day must have been watched for to be learned.
const MIN_HOURS: u8 = 20;
/// Days that a judgement must rest on.
const MIN_DAYS: f32 = 2.5;
/// Bytes that tell a quiet day from an empty one.
const QUIET: f64 = 65_536.0;
/// Standard deviation of the logarithm of a day that is known beforehand, and how many days that counts for.
const PRIOR: (f64, f64) = (0.15, 3.0);

/// The bytes of one way (requests or responses): today's so far, and how days differ from what hours lead to
/// expect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Days {
    /// Number of the local day.
    day: i32,
    hours: u8,
    /// Bytes so far.
    pub(crate) observed: f64,
    /// Bytes that the hours so far lead to expect.
    expected: f64,
    /// Growth of the calls as of the day's beginning, so that what happens today does not excuse itself.
    growth: f32,
    unusual: bool,
    kept_out: u8,
    /// Of the logarithm of observed by expected: weight, sum and sum of squares.
    n: f32,
    sum: f32,
    squares: f32,
}

/// What a day is judged by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// Bytes so far.
    pub(crate) observed: f64,
    /// Bytes that are usual for the whole day.
    pub(crate) expected: f64,
    /// How far that is, in standard deviations of past days.
    pub(crate) t: f64,
    /// Degrees of freedom of `t`.
    pub(crate) freedom: f64,
    /// Its beginning.
    pub(crate) since: i64,
}

impl Days {
    /// Judges the day with the hour that starts at `start` and carried `bytes`; `None` while days are not known.
    ///
    /// The day so far is held against the whole day, so that one day is one test however often it is looked at.
    pub(crate) fn verdict(
        &self,
        grid: &Grid,
        volume: &Volume,
        per_call: f64,
        start: i64,
        bytes: u64,
    ) -> Option<Verdict> {
        let day = grid.day(start);
        let today = day == i64::from(self.day) && self.hours > 0;
        if self.n < MIN_DAYS || !today {
            return None;
        }
        let mut rest = 0.0;
        let mut hour = start;
        while grid.day(hour) == day {
            rest += volume.slot_rate(grid, hour) * f64::from(self.growth) * per_call;
            hour += HOUR;
        }
        let (observed, expected) = (self.observed + bytes as f64, self.expected + rest);
        let n = f64::from(self.n);
        let mean = f64::from(self.sum) / n;
        let spread = f64::from(self.squares) - n * mean * mean;
        let variance = (spread.max(0.0) + PRIOR.0 * PRIOR.0 * PRIOR.1) / (n - 1.0 + PRIOR.1);
        let log = libm::log((observed + QUIET) / (expected + QUIET));
        Some(Verdict {
            observed,
            expected,
            t: (log - mean) / (variance * (1.0 + 1.0 / n)).sqrt(),
            freedom: n - 1.0 + PRIOR.1,
            since: start - i64::from(self.hours) * HOUR,
        })
    }

    /// Learns an hour; the first of a local day ends the day before.
    pub(crate) fn learn(
        &mut self,
        grid: &Grid,
        volume: &Volume,
        per_call: f64,
        start: i64,
        bytes: u64,
        unusual: bool,
    ) {
        let day = grid.day(start) as i32;
        if day != self.day || self.hours == 0 {
            self.end();
            (self.day, self.hours, self.observed, self.expected) = (day, 0, 0.0, 0.0);
            (self.growth, self.unusual) = (volume.growth() as f32, false);
        }
        self.hours = self.hours.saturating_add(1);
        self.observed += bytes as f64;
        self.expected += volume.slot_rate(grid, start) * f64::from(self.growth) * per_call;
        self.unusual |= unusual;
    }

    fn end(&mut self) {
        if self.hours < MIN_HOURS || self.expected <= 0.0 {
            return;
        }
        // The day after an unusual one is learned as it is: what lasts has been reported.
        if self.unusual && self.kept_out == 0 {
            self.kept_out = 1;
            return;
        }
        self.kept_out = 0;
        let log = libm::log((self.observed + QUIET) / (self.expected + QUIET)) as f32;
        self.n = self.n * KEEP_PER_DAY + 1.0;
        self.sum = self.sum * KEEP_PER_DAY + log;
        self.squares = self.squares * KEEP_PER_DAY + log * log;
    }
}
