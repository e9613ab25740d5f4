//! What a pair's call rates are at every hour of the week, for people.

use serde::Serialize;

use super::Volume;
use crate::grid::{DAY, Grid, HOUR, HOURS, SLOTS};

/// What is usual in one hour of the day, on one kind of day.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HourOfWeek {
    /// Whether it is an hour of the weekend.
    pub weekend: bool,
    /// Hour of local time, 0 to 23.
    pub hour: u8,
    /// Hours watched, old ones forgotten: about fourteen at most; below 0.5 nothing is known.
    pub hours_watched: f64,
    /// Calls an hour that are usual; `None` if this hour was never watched.
    pub calls: Option<f64>,
    /// The least that is usual, three standard deviations below, an hour early or late included.
    pub least: Option<f64>,
    /// The most that is usual, in the same way.
    pub most: Option<f64>,
}

impl Volume {
    /// The profile as of `now`, weekday hours first.
    pub(crate) fn hours(&self, grid: &Grid, now: i64) -> Vec<HourOfWeek> {
        let mut found: Vec<Option<HourOfWeek>> = vec![None; SLOTS];
        // Every slot comes within a week; midweek first, so that its neighbours are of the same kind of day.
        let midweek = (0..7).map(|day| now.div_euclid(HOUR) * HOUR + day * DAY);
        let mut starts: Vec<i64> = midweek.flat_map(|day| (0..24).map(move |h| day + h * HOUR)).collect();
        let same_kind = |at: i64| {
            let weekend = |at: i64| grid.slot(at) >= SLOTS / 2;
            weekend(at - HOUR) == weekend(at) && weekend(at + HOUR) == weekend(at)
        };
        starts.sort_by_key(|at| !same_kind(*at));
        let mut volume = self.clone();
        for at in starts {
            let slot = grid.slot(at);
            if found[slot].is_some() {
                continue;
            }
            volume.look_up(grid, at);
            let watched = f64::from(self.hours[slot]);
            let known = |value: f64| (watched >= 0.5).then_some(value);
            found[slot] = Some(HourOfWeek {
                weekend: slot >= SLOTS / 2,
                hour: (slot % (SLOTS / 2)) as u8,
                hours_watched: watched,
                calls: known(volume.now.expected),
                least: known(volume.usual_least(1.0)),
                most: known(volume.usual_most(grid, HOURS)),
            });
        }
        found.into_iter().flatten().collect()
    }

    /// How much more or less the pair calls of late than its profile says: 1 is as ever.
    pub(crate) fn trend(&self) -> f64 {
        self.growth()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::baseline::Learn;

    #[test]
    fn every_hour_of_the_week_is_there_once_and_those_never_watched_say_so() {
        let grid = Grid::new(&Settings::default());
        let mut volume = Volume::default();
        // Monday, 2026-03-02, to Friday.
        let monday = 1_772_409_600_000_000;
        for hour in 0..5 * 24_i64 {
            let n = if hour % 24 == 9 { 80 } else { 10 };
            volume.learn(&grid, monday + hour * HOUR, n, &[n; 4], Learn::Usual);
        }
        let hours = volume.hours(&grid, monday + 5 * DAY);
        assert_eq!(hours.len(), SLOTS);
        let at = |weekend, hour| hours.iter().find(|h| (h.weekend, h.hour) == (weekend, hour)).unwrap();
        let nine = at(false, 9);
        assert!(nine.calls.unwrap() > 60.0 && nine.most.unwrap() > nine.calls.unwrap(), "{nine:?}");
        assert!(at(false, 15).calls.unwrap() < 15.0);
        assert_eq!((at(true, 9).calls, at(true, 9).hours_watched), (None, 0.0));
    }
}
