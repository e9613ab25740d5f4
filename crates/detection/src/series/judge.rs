//! One series, from samples to alarms: foretold, judged, and learned afterwards.

use super::forecast::{Forecast, Foretold};
use super::report::Alarm;
use super::tail::Tail;
use super::{MetricKind, Sample, SeriesKey, SeriesSettings};

/// Samples before anything is judged, and those a series must have.
const WARM_UP: usize = 32;
/// A gap is longer than this many steps.
const GAP: f64 = 3.0;
/// Ways in which a sample is unusual; see [`misses`].
const WAYS: usize = 5;
/// The first of them are of the moment: what is strange now, though it may be a usual value.
const MOMENT: usize = 4;
/// Misses of a probability below this are one episode until [`EPISODE`] ordinary ones follow; of an episode only the
/// largest is learned, because exceedances of one episode are not independent (runs declustering; Smith and
/// Weissman, Journal of the Royal Statistical Society B 56, 1994).
const EXCEEDS: f64 = 0.01;
const EPISODE: u32 = 4;
/// The slow level does not follow what is less probable than this, for so many steps at most.
const KEEP_OUT: f64 = 1e-3;
const MAX_KEPT_OUT: u32 = 60;
/// The greatest score.
const MAX_SCORE: f64 = 20.0;
const DAY: f64 = 86_400e6;
/// An alarm is over after four hours without, but not within three steps and not later than after 48.
const QUIET: (f64, f64, f64) = (4.0 / 24.0, 3.0, 48.0);
const QUIET_TRAINED: f64 = 1.5;
/// Where the past is vouched for, a finding that lasts is told again so often, microseconds: as findings about
/// pairs are.
const TELL_EVERY: f64 = 300e6;
/// Steps after a finding in which a value may be its end.
const RETURNING: f64 = 6.0;

/// What is found in a series.
pub(crate) struct Judged<'a> {
    pub(crate) alarms: Vec<Alarm<'a>>,
    pub(crate) gaps: u64,
}

/// Judges a series whose samples are in order of time; `None` if there are too few.
pub(crate) fn alarms<'a>(
    key: &'a SeriesKey,
    kind: MetricKind,
    samples: &[Sample],
    settings: &SeriesSettings,
    sharers: usize,
) -> Option<Judged<'a>> {
    if samples.len() < WARM_UP {
        return None;
    }
    let step = step(samples)?;
    let per_day = DAY / step;
    let threshold = libm::log10(per_day * sharers as f64 / settings.budget.clamp(1e-6, 1e6));
    let quiet = step * (per_day * QUIET.0).clamp(QUIET.1, QUIET.2);
    let mut series = Series::new(kind, per_day);
    let mut judged = Judged { alarms: Vec::new(), gaps: 0 };
    let mut open = Open::default();
    for (i, sample) in samples.iter().enumerate() {
        let at = sample.at.0 as f64;
        if i > 0 && at - samples[i - 1].at.0 as f64 > GAP * step {
            judged.gaps += 1;
        }
        let trained = settings.train_until.is_some_and(|until| sample.at > until);
        let seen = series.take((at / step).floor() as i64, sample.value, trained);
        let may_speak = i >= WARM_UP && (settings.train_until.is_none() || trained);
        let Some((score, told)) = seen.filter(|(score, _)| may_speak && *score >= threshold) else {
            continue;
        };
        if open.is_return(at, sample.value, RETURNING * step) {
            continue;
        }
        let opens = open.opens(at, if trained { QUIET_TRAINED * step } else { quiet });
        open.note(at, sample.value, told.best, opens);
        let tells = opens || trained && at - open.told_at >= TELL_EVERY;
        if tells {
            open.told_at = at;
        }
        judged.alarms.push(Alarm {
            at: sample.at,
            key,
            kind,
            score: score.min(MAX_SCORE),
            observed: sample.value,
            expected: told.best,
            opens,
            tells,
            step,
        });
    }
    Some(judged)
}

/// The latest finding of a series.
#[derive(Default)]
struct Open {
    /// When it was last confirmed, and when its end was last seen.
    confirmed_at: Option<f64>,
    returned_at: Option<f64>,
    told_at: f64,
    /// What was foretold when it opened, and the value furthest from that.
    expected: f64,
    furthest: f64,
}

impl Open {
    /// Whether a value is back near where it was foretold before the finding: an end, and not news, although what is
    /// foretold by now may be far from it.
    fn is_return(&mut self, at: f64, value: f64, within: f64) -> bool {
        let latest = self.confirmed_at.into_iter().chain(self.returned_at).fold(f64::MIN, f64::max);
        let back = (value - self.expected).abs() <= 0.5 * (self.furthest - self.expected).abs();
        let returns = back && at - latest <= within;
        if returns {
            self.returned_at = Some(at);
        }
        returns
    }

    /// Whether an alarm opens a finding and does not confirm the last one.
    fn opens(&self, at: f64, quiet: f64) -> bool {
        self.confirmed_at.is_none_or(|confirmed| at - confirmed > quiet)
    }

    fn note(&mut self, at: f64, value: f64, expected: f64, opens: bool) {
        if opens {
            (self.expected, self.furthest) = (expected, value);
        } else if (value - self.expected).abs() > (self.furthest - self.expected).abs() {
            self.furthest = value;
        }
        self.confirmed_at = Some(at);
    }
}

/// The usual time between samples, microseconds.
fn step(samples: &[Sample]) -> Option<f64> {
    let mut apart: Vec<i64> = samples.windows(2).map(|w| w[1].at.0 - w[0].at.0).collect();
    apart.sort_unstable();
    apart.get(apart.len() / 2).map(|us| *us as f64)
}

/// What is known of one series.
struct Series {
    kind: MetricKind,
    forecast: Forecast,
    /// By way, above and below.
    tails: [[Tail; 2]; WAYS],
    episodes: [[Episode; 2]; WAYS],
    wild: Tail,
    kept_out: u32,
    n: usize,
}

/// The largest miss of an episode, and ordinary ones since.
#[derive(Clone, Copy, Default)]
struct Episode {
    largest: f64,
    since: u32,
}

impl Series {
    fn new(kind: MetricKind, per_day: f64) -> Series {
        Series {
            kind,
            forecast: Forecast::new(per_day),
            tails: std::array::from_fn(|_| [Tail::new(), Tail::new()]),
            episodes: [[Episode::default(); 2]; WAYS],
            wild: Tail::new(),
            kept_out: 0,
            n: 0,
        }
    }

    /// Judges a sample and learns it; gives its score and what was foretold.
    ///
    /// The probabilities of the ways are joined by their geometric mean times e, which is a probability however
    /// they depend on each other (Vovk and Wang, Biometrika 107, 2020).
    fn take(&mut self, step: i64, value: f64, trained: bool) -> Option<(f64, Foretold)> {
        self.n += 1;
        let least = self.kind.least_change(self.forecast.slow.value);
        let Some(told) = self.forecast.foretell(step) else {
            self.forecast.learn(step, value, least, f64::MAX, true);
            return None;
        };
        let misses = misses(value, &told, least);
        let logs: [f64; WAYS] = std::array::from_fn(|way| -libm::log10(self.p(way, misses[way]).max(1e-30)));
        let mean = |logs: &[f64]| logs.iter().sum::<f64>() / logs.len() as f64;
        // Two tests: of the moment alone, and of all.
        let joint = mean(&logs[..MOMENT]).max(mean(&logs)) - std::f64::consts::LOG10_2;
        let score = (joint - std::f64::consts::LOG10_E).max(0.0);
        if self.n > 3 {
            let small = (value - told.best).abs() < least;
            (0..WAYS).for_each(|way| self.learn(way, misses[way], logs[way], trained, small));
        }
        let wild = if self.wild.count() > 50.0 { self.wild.largest_usual() } else { f64::MAX };
        self.wild.learn((value - told.best).abs());
        let strange = trained && logs[WAYS - 1] > -libm::log10(KEEP_OUT) && self.kept_out < MAX_KEPT_OUT;
        self.kept_out = match (strange, logs[WAYS - 1] > -libm::log10(KEEP_OUT)) {
            (true, _) => self.kept_out + 1,
            (false, true) => self.kept_out,
            (false, false) => 0,
        };
        self.forecast.learn(step, value, least, wild, !strange);
        Some((score, told))
    }

    /// The probability of a miss: of its side, and of its size on that side.
    fn p(&self, way: usize, miss: f64) -> f64 {
        if self.n <= WARM_UP {
            return 1.0;
        }
        let sides = &self.tails[way];
        let tail = &sides[side(miss)];
        let share = (tail.count() + 1.0) / (sides[0].count() + sides[1].count() + 2.0);
        tail.p(miss.abs()) * share
    }

    /// Learns a miss; one so small that nobody cares on which side it is, on both.
    fn learn(&mut self, way: usize, miss: f64, log: f64, trained: bool, small: bool) {
        let here = side(miss);
        if log > -libm::log10(EXCEEDS) {
            let episode = &mut self.episodes[way][here];
            episode.largest = episode.largest.max(miss.abs());
            episode.since = 0;
        } else {
            self.tails[way][here].learn(miss.abs());
            if small {
                self.tails[way][1 - here].learn(miss.abs());
            }
        }
        for side in 0..2 {
            let episode = &mut self.episodes[way][side];
            if episode.largest > 0.0 {
                episode.since += 1;
                if episode.since > EPISODE {
                    // Where the past is vouched for, what deviates from it never becomes usual.
                    if !trained {
                        self.tails[way][side].learn(episode.largest);
                    }
                    *episode = Episode::default();
                }
            }
        }
    }
}

/// How far a value is from what was foretold, in five ways: from the best forecast and from the quick level, each
/// beside how far these usually miss now (a change of the moment) and in the metric's own unit (a change that
/// is large at any time); and from the slow level (a value that is rare). Misses that nobody cares about are one.
fn misses(value: f64, told: &Foretold, least: f64) -> [f64; WAYS] {
    let beside = |miss: f64, scale: f64| floor(miss, least) / scale.max(least);
    let (best, quick) = (value - told.best, value - told.quick);
    [
        beside(best, told.best_scale),
        floor(best, least),
        beside(quick, told.quick_scale),
        floor(quick, least),
        floor(value - told.slow, least),
    ]
}

fn floor(miss: f64, least: f64) -> f64 {
    if miss.abs() >= least { miss } else { least.copysign(miss) }
}

fn side(miss: f64) -> usize {
    usize::from(miss < 0.0)
}
