//! Event time cut into windows: the base window, and the longer horizons made of whole base windows.

use std::time::Duration;

use crate::{Settings, Zone};

/// Microseconds in a second.
pub(crate) const SECOND: i64 = 1_000_000;
/// Microseconds in a minute.
pub(crate) const MINUTE: i64 = 60 * SECOND;
/// Microseconds in an hour.
pub(crate) const HOUR: i64 = 60 * MINUTE;
/// Microseconds in a day.
pub(crate) const DAY: i64 = 24 * HOUR;

/// Number of horizons.
pub(crate) const LEVELS: usize = 4;
/// The base window's level.
pub(crate) const BASE: usize = 0;
/// The level of about a minute.
pub(crate) const MINUTES: usize = 1;
/// The level of about ten minutes.
pub(crate) const TENS: usize = 2;
/// The level of about an hour, which the baselines learn from.
pub(crate) const HOURS: usize = 3;
/// Slots of a profile: the hours of a weekday, then those of a day of the weekend.
pub(crate) const SLOTS: usize = 48;

/// Lengths of the horizons in microseconds, shortest first; each a multiple of the first.
#[derive(Clone, Debug)]
pub(crate) struct Grid {
    pub(crate) lengths: [i64; LEVELS],
    pub(crate) lateness: i64,
    zone: Zone,
}

impl Grid {
    pub(crate) fn new(settings: &Settings) -> Grid {
        let base = micros(settings.window).clamp(SECOND, 10 * MINUTE);
        let whole = |target: i64| (target + base - 1) / base * base;
        Grid {
            lengths: [base, whole(MINUTE), whole(10 * MINUTE), whole(HOUR)],
            lateness: micros(settings.lateness).min(DAY),
            zone: settings.time_zone.clone(),
        }
    }

    pub(crate) fn base(&self) -> i64 {
        self.lengths[BASE]
    }

    /// Start of the base window that holds `at`.
    pub(crate) fn window_of(&self, at: i64) -> i64 {
        at.div_euclid(self.base()) * self.base()
    }

    /// Whether a window of `level` ends at `boundary`, and is not one of a shorter level as well.
    pub(crate) fn ends(&self, level: usize, boundary: i64) -> bool {
        boundary.rem_euclid(self.lengths[level]) == 0
    }

    /// Whether `level` is as long as the one below it, so that judging it would judge the same window twice.
    pub(crate) fn repeats(&self, level: usize) -> bool {
        level > 0 && self.lengths[level] == self.lengths[level - 1]
    }

    /// Whether windows of `level` are made of whole ones of the level below, as they are for base windows that
    /// divide a minute.
    pub(crate) fn nests(&self, level: usize) -> bool {
        level > 0 && self.lengths[level] % self.lengths[level - 1] == 0
    }

    /// Windows of `level` in a day.
    pub(crate) fn per_day(&self, level: usize) -> f64 {
        DAY as f64 / self.lengths[level] as f64
    }

    /// Length of a window of `level` in hours.
    pub(crate) fn hours(&self, level: usize) -> f64 {
        self.lengths[level] as f64 / HOUR as f64
    }

    /// The number of the local day that `at` falls in.
    pub(crate) fn day(&self, at: i64) -> i64 {
        at.saturating_add(self.zone.ahead(at)).div_euclid(DAY)
    }

    /// The slot of local time that `at` falls in.
    pub(crate) fn slot(&self, at: i64) -> usize {
        let local = at.saturating_add(self.zone.ahead(at));
        let hour = local.div_euclid(HOUR).rem_euclid(24) as usize;
        // The epoch was a Thursday.
        let weekend = (local.div_euclid(DAY) + 3).rem_euclid(7) >= 5;
        hour + if weekend { 24 } else { 0 }
    }
}

/// A duration in microseconds, saturating.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A length in words: `10 s`, `1 min`, `4 h`.
pub(crate) fn span(length: i64) -> String {
    let (n, unit) = match length {
        l if l % HOUR == 0 => (l / HOUR, "h"),
        l if l % MINUTE == 0 => (l / MINUTE, "min"),
        l => (l / SECOND, "s"),
    };
    format!("{n} {unit}")
}

/// The unit of a count in windows of `length`: `calls/10min`.
pub(crate) fn per(what: &str, length: i64) -> String {
    format!("{what}/{}", span(length).replace(' ', "").replace("/1", "/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn horizons_are_whole_base_windows() {
        for window_s in [0, 1, 7, 10, 60, 300, 4_000] {
            let grid = Grid::new(&Settings { window: Duration::from_secs(window_s), ..Settings::default() });
            assert!(grid.lengths.iter().all(|l| l % grid.base() == 0), "{window_s}");
            assert!(grid.lengths.is_sorted());
        }
    }

    #[test]
    fn weekends_and_offsets_have_their_own_slots() {
        let grid = Grid::new(&Settings::default());
        let monday = 1_772_409_600 * SECOND; // 2026-03-02T00:00:00Z
        assert_eq!(grid.slot(monday), 0);
        assert_eq!(grid.slot(monday + 5 * DAY + 3 * HOUR), 27);
        let east = Grid::new(&Settings { time_zone: Zone::parse("+01:00").unwrap(), ..Settings::default() });
        assert_eq!(east.slot(monday - HOUR), 0);
        let london =
            Grid::new(&Settings { time_zone: Zone::parse("Europe/London").unwrap(), ..Settings::default() });
        let slots = |day: i64| [0, 1, 2].map(|hour| london.slot(monday + day * DAY + hour * HOUR));
        assert_eq!(slots(27), [24, 26, 27], "on 29 March one o'clock is skipped");
        assert_eq!(slots(237), [25, 25, 26], "on 25 October it comes twice");
    }

    #[test]
    fn lengths_have_names() {
        assert_eq!(span(10 * SECOND), "10 s");
        assert_eq!(per("calls", 10 * MINUTE), "calls/10min");
        assert_eq!(span(4 * HOUR), "4 h");
    }
}
