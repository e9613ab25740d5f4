//! Foretelling the next value of a series: four simple forecasts, and which of them has done best.

/// How much of a new value the quick level takes.
const QUICK: f64 = 0.4;
/// A season's place takes a quarter of its new value.
const SEASON: f64 = 0.25;
/// Steps that the scales of misses remember, and those of losses.
const SCALE: f64 = 1.0 / 300.0;
const LOSS: f64 = 0.01;
/// Misses before a forecast is preferred, or its scale limits what is learned.
const MIN_MISSES: f64 = 30.0;
const HOURS: usize = 24;

/// A mean that weighs the present more: of the first few values the plain mean.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Level {
    pub(crate) value: f64,
    pub(crate) n: f64,
}

impl Level {
    pub(crate) fn learn(&mut self, value: f64, rate: f64) {
        self.n += 1.0;
        self.value += rate.max(1.0 / self.n) * (value - self.value);
    }
}

/// The course of a day or a week, and how the present lies above or below it.
#[derive(Clone, Debug)]
struct Season {
    places: Vec<Level>,
    offset: f64,
}

impl Season {
    fn new(length: usize) -> Season {
        Season { places: vec![Level::default(); length], offset: 0.0 }
    }

    fn foretell(&self, step: i64) -> Option<f64> {
        let place = self.places.get(self.at(step))?;
        (place.n >= 1.5).then_some(place.value + self.offset)
    }

    fn at(&self, step: i64) -> usize {
        step.rem_euclid(self.places.len().max(1) as i64) as usize
    }

    /// Learns a value, and a little of it into the places beside: days are not on time to the step.
    fn learn(&mut self, step: i64, value: f64, limit: f64) {
        if self.places.is_empty() {
            return;
        }
        let here = self.places[self.at(step)];
        if here.n >= 1.5 {
            let off = (value - here.value).clamp(self.offset - limit, self.offset + limit);
            self.offset += 0.3 * (off - self.offset);
        }
        for (aside, weight) in [(-1, 0.3), (0, 1.0), (1, 0.3)] {
            let at = self.at(step + aside);
            let place = &mut self.places[at];
            place.n += weight;
            let rate = (SEASON * weight).max(weight / place.n.max(1.0)).min(1.0);
            place.value += rate * (value - place.value);
        }
    }
}

/// The forecasts of one series: quick level, slow level, by time of day, by time of week; the seasonal ones
/// once a cycle is known (exponential smoothing; Holt 1957, Winters 1960), each with how far it misses.
#[derive(Clone, Debug)]
pub(crate) struct Forecast {
    quick: Level,
    pub(crate) slow: Level,
    slow_rate: f64,
    seasons: [Season; 2],
    scales: [Level; 4],
    losses: [Level; 4],
    by_hour: Vec<Level>,
    per_day: usize,
}

/// What is foretold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Foretold {
    /// By the forecast that has done best lately, and how far it misses at this time of day.
    pub(crate) best: f64,
    pub(crate) best_scale: f64,
    /// By the quick level, and how far that misses.
    pub(crate) quick: f64,
    pub(crate) quick_scale: f64,
    /// By the slow level.
    pub(crate) slow: f64,
}

impl Forecast {
    /// For a series of so many steps a day.
    pub(crate) fn new(per_day: f64) -> Forecast {
        let steps = (per_day.round() as usize).max(1);
        // Fewer than four steps a day have no course of the day; more than one a second none that is worth keeping.
        let length = if (4..=86_400).contains(&steps) { steps } else { 0 };
        Forecast {
            quick: Level::default(),
            slow: Level::default(),
            slow_rate: (2.0 / per_day.min(500.0)).max(0.004),
            seasons: [Season::new(length), Season::new(if steps <= 2_880 { 7 * length } else { 0 })],
            scales: [Level::default(); 4],
            losses: [Level::default(); 4],
            by_hour: vec![Level::default(); steps.min(HOURS)],
            per_day: steps,
        }
    }

    fn all(&self, step: i64) -> [Option<f64>; 4] {
        [
            (self.quick.n > 0.0).then_some(self.quick.value),
            (self.slow.n > 0.0).then_some(self.slow.value),
            self.seasons[0].foretell(step),
            self.seasons[1].foretell(step),
        ]
    }

    fn best(&self, all: &[Option<f64>; 4]) -> usize {
        let tried = (0..4).filter(|i| all[*i].is_some() && self.losses[*i].n > MIN_MISSES);
        tried.min_by(|a, b| self.losses[*a].value.total_cmp(&self.losses[*b].value)).unwrap_or(0)
    }

    fn hour(&self, step: i64) -> usize {
        step.rem_euclid(self.per_day as i64) as usize * self.by_hour.len() / self.per_day
    }

    /// Foretells the value of a step; `None` before anything is known.
    pub(crate) fn foretell(&self, step: i64) -> Option<Foretold> {
        let all = self.all(step);
        let best = self.best(&all);
        Some(Foretold {
            best: all[best]?,
            best_scale: 0.5 * (self.scales[best].value + self.by_hour[self.hour(step)].value),
            quick: self.quick.value,
            quick_scale: self.scales[0].value,
            slow: self.slow.value,
        })
    }

    /// Learns the value of a step. A wild one counts no more than `wild`, or five times what is usual. Where it was
    /// found unusual, the slow level does not follow.
    pub(crate) fn learn(&mut self, step: i64, value: f64, least: f64, wild: f64, follow: bool) {
        let all = self.all(step);
        let best = self.best(&all);
        let hour = self.hour(step);
        for (i, told) in all.iter().enumerate() {
            let Some(told) = told else { continue };
            let scale = &mut self.scales[i];
            let mut miss = (value - told).abs();
            if scale.n > MIN_MISSES {
                miss = miss.min((5.0 * scale.value.max(least)).max(wild));
            }
            scale.learn(miss, SCALE);
            self.losses[i].learn(miss, LOSS);
            if i == best {
                self.by_hour[hour].learn(miss, 0.02);
            }
        }
        self.quick.learn(value, QUICK);
        if follow {
            let limit = if self.slow.n > 50.0 { 8.0 * self.scales[1].value.max(least) } else { f64::MAX };
            let off = (value - self.slow.value).clamp(-limit, limit);
            self.slow.learn(self.slow.value + off, self.slow_rate);
        }
        let limit = 10.0 * self.scales[0].value.max(least);
        self.seasons.iter_mut().for_each(|season| season.learn(step, value, limit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_of_the_day_is_foretold_after_two_days() {
        let course = |step: i64| 100.0 + 50.0 * (step as f64 / 288.0 * std::f64::consts::TAU).sin();
        let mut forecast = Forecast::new(288.0);
        for step in 0..4 * 288 {
            forecast.learn(step, course(step), 0.1, 0.0, true);
        }
        let told = forecast.foretell(4 * 288).expect("days were learned");
        assert!((told.best - 100.0).abs() < 6.0, "{told:?}");
    }

    #[test]
    fn nothing_is_foretold_of_nothing() {
        assert_eq!(Forecast::new(24.0).foretell(0), None);
    }
}
