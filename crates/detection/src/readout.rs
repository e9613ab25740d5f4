//! What was learned, for people: operators, the SOC, auditors. Reads and changes nothing.
//!
//! A number that rests on too little is left out rather than shown, and what is not learned yet is said.

use lapwing_telemetry::{EventTime, FindingKind, Pair, Signal};
use serde::{Serialize, Serializer};

use crate::Settings;
use crate::baseline::volume::HourOfWeek;
use crate::baseline::{Distribution, Errors, Failures, Spread};
use crate::engine::Engine;
use crate::grid::{BASE, Grid, HOURS, LEVELS, MINUTE, SECOND, TENS, micros};
use crate::mesh::Mesh;
use crate::pair_state::PairState;
use crate::sensitivity::fits;
use crate::tails::binomial_upper;

/// Calls from which on a quantile is shown: a value beyond it has probably been seen.
const MIN_CALLS: [(f64, f64); 3] = [(0.5, 5.0), (0.95, 20.0), (0.99, 100.0)];
/// Hours with calls after which every detector judges a pair.
const JUDGED_HOURS: u32 = 24;

/// What a mesh has learned, as of a moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Baselines {
    /// The first arrival in the log: learning began here. `None` if nothing has come.
    #[serde(serialize_with = "maybe_text")]
    pub began_at: Option<EventTime>,
    /// The latest arrival that is included.
    #[serde(serialize_with = "maybe_text")]
    pub up_to: Option<EventTime>,
    /// From then on findings are reported.
    #[serde(serialize_with = "maybe_text")]
    pub reports_from: Option<EventTime>,
    /// lapwing's version and the hash of the detector settings that would judge now.
    pub made_by: String,
    /// The budget: false findings a day over the whole mesh.
    pub budget_per_day: f64,
    /// Familiar pairs that share it, as of the last hour.
    pub sharing_pairs: u64,
    /// What the budget comes to in a single test, by length of the window.
    pub thresholds: Vec<Threshold>,
    /// Minutes that local time was ahead of UTC at the end: hours of the week are local.
    pub utc_offset_minutes: i64,
    /// Calling services remembered.
    pub sources: usize,
    /// The pairs, in the order of their names.
    pub pairs: Vec<PairBaseline>,
}

/// What the budget comes to in windows of one length.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Threshold {
    /// Length of the window, seconds.
    pub window_s: i64,
    /// Windows of a pair a day.
    pub tests_per_day: f64,
    /// The probability below which such a window is unusual.
    pub tail: f64,
}

/// What is usual for a pair.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairBaseline {
    /// The pair.
    #[serde(flatten)]
    pub pair: Pair,
    /// The record that volume, latency, sizes and errors rest on; `None` in the pair's first hour.
    pub signal: Option<Signal>,
    /// Start of the first window with calls.
    #[serde(serialize_with = "text")]
    pub first_seen: EventTime,
    /// Start of the last closed window with calls.
    #[serde(serialize_with = "text")]
    pub last_seen: EventTime,
    /// Hours learned, those without calls included.
    pub hours_learned: u32,
    /// Hours that had calls.
    pub hours_seen: u32,
    /// How much history that is, 0 to 1: ample after a week.
    pub confidence: f64,
    /// What is not learned yet, in words; empty if nothing is missing.
    pub missing: Vec<String>,
    /// Calls counted since the pair was first seen.
    pub calls: u64,
    /// Of these, failed or refused.
    pub failed: u64,
    /// Calls an hour over all hours; `None` before the first hour is learned.
    pub calls_per_hour: Option<f64>,
    /// The calls of late as a multiple of what the hours of the week say.
    pub trend: f64,
    /// What is usual by hour of the week, weekday hours first.
    pub hours: Vec<HourOfWeek>,
    /// Durations; `None` if none is known.
    pub latency_ms: Option<Quantiles>,
    /// Failures of the service or the network.
    pub errors: ErrorRate,
    /// Sizes of requests; `None` if none is known.
    pub request_bytes: Option<Quantiles>,
    /// Sizes of responses; `None` if none is known.
    pub response_bytes: Option<Quantiles>,
    /// Calls refused for their token.
    pub auth_failures: Rate,
    /// Calls that a policy denied.
    pub policy_denials: Rate,
    /// Handshakes that failed.
    pub tls_failures: Rate,
    /// Calls with encryption, as far as records say.
    pub encrypted_calls: u64,
    /// Calls without.
    pub plaintext_calls: u64,
    /// Verified identities that callers showed.
    pub identities: usize,
    /// Aspects that are unusual now and are not learned from.
    pub unusual_now: Vec<&'static str>,
    /// Kinds and ids of the findings that are open.
    pub open_findings: Vec<(FindingKind, String)>,
}

/// A distribution of the past, forgotten by half in six days.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Calls that it rests on, old ones counting for less.
    pub calls: f64,
    /// The median; `None` below 5 calls.
    pub p50: Option<f64>,
    /// The 95th percentile; `None` below 20 calls.
    pub p95: Option<f64>,
    /// The 99th percentile; `None` below 100 calls.
    pub p99: Option<f64>,
    /// The mean.
    pub mean: f64,
    /// How much more the share of slow or large calls varies from window to window (of ten minutes, and of an hour) than
    /// chance alone would have it: a ratio of variances, 1 is chance.
    pub variance_ratio: [f64; 2],
}

/// The share of calls that fail, forgotten by half in six days.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErrorRate {
    /// Calls that it rests on, old ones counting for less.
    pub calls: f64,
    /// Errors among them.
    pub errors: f64,
    /// The share in percent; `None` if there were no calls.
    pub percent: Option<f64>,
    /// The interval of 95 % for it, of Jeffreys (Brown, Cai, DasGupta, Statistical Science 16, 2001).
    pub percent_low: f64,
    /// Its upper end.
    pub percent_high: f64,
    /// As for [`Quantiles`].
    pub variance_ratio: [f64; 2],
}

/// How often something is refused, forgotten by half in six days.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// Hours that it rests on, old ones counting for less.
    pub hours: f64,
    /// Refusals in them.
    pub refused: f64,
    /// What is expected an hour: the posterior mean, never quite zero.
    pub expected_per_hour: f64,
}

impl Mesh {
    /// What has been learned.
    pub fn baselines(&self) -> Baselines {
        let began_at = self.began_at.map(EventTime);
        let mut pairs: Vec<PairBaseline> = self.engines.iter().flat_map(of_engine).collect();
        pairs.sort_by(|a, b| a.pair.cmp(&b.pair));
        Baselines {
            began_at,
            up_to: began_at.map(|_| self.stats().latest),
            reports_from: began_at.map(|at| EventTime(at.0.saturating_add(micros(self.settings.learning)))),
            made_by: self.settings.made_by(),
            budget_per_day: self.settings.budget,
            sharing_pairs: self.sharers,
            thresholds: thresholds(&self.grid, &self.settings, self.sharers),
            utc_offset_minutes: self.settings.time_zone.ahead(self.boundary) / MINUTE,
            sources: self.sources.len(),
            pairs,
        }
    }
}

impl Baselines {
    /// Keeps the pairs whose names fit these patterns, with one `*` each at most.
    pub fn select(&mut self, source: &str, destination: &str) {
        self.pairs.retain(|b| fits(source, &b.pair.source) && fits(destination, &b.pair.destination));
    }
}

fn thresholds(grid: &Grid, settings: &Settings, sharers: u64) -> Vec<Threshold> {
    (BASE..LEVELS)
        .filter(|level| !grid.repeats(*level))
        .map(|level| Threshold {
            window_s: grid.lengths[level] / SECOND,
            tests_per_day: grid.per_day(level),
            tail: settings.tail(sharers, grid.per_day(level)),
        })
        .collect()
}

fn of_engine(engine: &Engine) -> Vec<PairBaseline> {
    let of = |(pair, place): (&Pair, &u32)| {
        let state = engine.slots[*place as usize].as_ref()?;
        Some(PairBaseline::new(&engine.grid, pair, state, engine.boundary))
    };
    engine.order.iter().filter_map(of).collect()
}

impl PairBaseline {
    fn new(grid: &Grid, pair: &Pair, state: &PairState, now: i64) -> PairBaseline {
        let summary = crate::PairSummary::new(grid, pair, state);
        let hours = state.volume.hours(grid, now);
        PairBaseline {
            pair: pair.clone(),
            signal: state.reporter,
            first_seen: EventTime(state.first_seen),
            last_seen: EventTime(state.last_seen),
            hours_learned: state.hours_learned,
            hours_seen: state.hours_seen,
            confidence: state.confidence(),
            missing: missing(state, &hours),
            calls: summary.calls,
            failed: summary.errors,
            calls_per_hour: (state.hours_learned > 0).then(|| state.volume.overall()),
            trend: state.volume.trend(),
            hours,
            latency_ms: Quantiles::of(&state.latency, 1.0),
            errors: ErrorRate::of(&state.errors),
            request_bytes: Quantiles::of(&state.sizes[0], 1_000.0),
            response_bytes: Quantiles::of(&state.sizes[1], 1_000.0),
            auth_failures: Rate::of(&state.auth),
            policy_denials: Rate::of(&state.policy),
            tls_failures: Rate::of(&state.tls),
            encrypted_calls: state.encrypted,
            plaintext_calls: state.plaintext,
            identities: state.identities.len(),
            unusual_now: unusual(state),
            open_findings: state.open.ids().map(|(kind, id)| (kind, id.to_owned())).collect(),
        }
    }
}

/// What is not learned yet.
fn missing(state: &PairState, hours: &[HourOfWeek]) -> Vec<String> {
    let mut missing = Vec::new();
    if state.reporter.is_none() {
        missing.push("its first hour is not over: nothing is known but that it exists".to_owned());
        return missing;
    }
    let learned = state.hours_learned;
    if learned < JUDGED_HOURS {
        missing.push(format!(
            "volume, latency, sizes and drifts are judged from {JUDGED_HOURS} h on, {learned} h are learned"
        ));
    }
    for (weekend, name) in [(false, "weekdays"), (true, "weekends")] {
        let never = hours.iter().filter(|h| h.weekend == weekend && h.calls.is_none()).count();
        if never > 0 {
            missing.push(format!("{never} of the 24 hours of {name} were never watched"));
        }
    }
    let few = |what: &str, have: f64, needed: f64| {
        (have < needed).then(|| format!("{what}: {have:.0} of the {needed:.0} calls that a judgement needs"))
    };
    missing.extend(few("durations", state.latency.total(), crate::detectors::latency::MIN_HISTORY));
    missing.extend(few("errors", state.errors.calls(), crate::detectors::errors::MIN_HISTORY));
    let sizes = state.sizes.iter().map(Distribution::total).fold(0.0, f64::max);
    missing.extend(few("sizes", sizes, crate::detectors::exfiltration::MIN_HISTORY));
    if state.identities.is_empty() {
        missing.push("no record carried a verified identity, so a strange one cannot be told".to_owned());
    }
    missing
}

fn unusual(state: &PairState) -> Vec<&'static str> {
    let now = state.unusual;
    [
        (now.volume, "volume"),
        (now.latency, "latency"),
        (now.sizes, "sizes"),
        (now.errors, "errors"),
        (now.auth, "authentication"),
        (now.policy, "policy"),
        (now.tls, "tls"),
    ]
    .into_iter()
    .filter_map(|(is, what)| is.then_some(what))
    .collect()
}

impl Quantiles {
    /// `scale` times milliseconds, so that sizes, which are in thousand bytes there, come in bytes.
    fn of(past: &Distribution, scale: f64) -> Option<Quantiles> {
        let calls = past.total();
        let [p50, p95, p99] = MIN_CALLS.map(|(share, least)| {
            let value = past.quantile_ms(share).map(|value| value * scale);
            value.filter(|_| calls >= least)
        });
        (calls > 0.0).then(|| Quantiles {
            calls,
            p50,
            p95,
            p99,
            mean: past.mean() * scale / 1_000.0,
            variance_ratio: ratios(&past.spread),
        })
    }
}

impl ErrorRate {
    fn of(past: &Errors) -> ErrorRate {
        let (calls, errors) = (past.calls(), past.shape() - 0.5);
        let [low, high] = jeffreys(errors, calls);
        ErrorRate {
            calls,
            errors,
            percent: (calls > 0.0).then(|| 100.0 * errors / calls),
            percent_low: 100.0 * low,
            percent_high: 100.0 * high,
            variance_ratio: ratios(&past.spread),
        }
    }
}

impl Rate {
    fn of(past: &Failures) -> Rate {
        let expected_per_hour = past.rate();
        // The rate is the shape over one hour more than has been watched.
        let hours = past.shape() / expected_per_hour - 1.0;
        Rate { hours, refused: past.shape() - 0.25, expected_per_hour }
    }
}

fn ratios(spread: &[Spread; LEVELS]) -> [f64; 2] {
    [spread[TENS].ratio(), spread[HOURS].ratio()]
}

/// The equal-tailed 95 % interval of a Beta posterior with the prior of Jeffreys; its ends are 0 and 1 where nothing,
/// or everything, has failed.
fn jeffreys(failed: f64, calls: f64) -> [f64; 2] {
    let (a, b) = (failed + 0.5, (calls - failed).max(0.0) + 0.5);
    // The distribution function of Beta(a, b) is this tail of a binomial.
    let quantile = |share: f64| {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..50 {
            let middle = f64::midpoint(low, high);
            if binomial_upper(a, a + b - 1.0, middle) < share { low = middle } else { high = middle }
        }
        low
    };
    [
        if failed < 0.5 { 0.0 } else { quantile(0.025) },
        if calls - failed < 0.5 { 1.0 } else { quantile(0.975) },
    ]
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn text<S: Serializer>(time: &EventTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn maybe_text<S: Serializer>(time: &Option<EventTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::tests::learned;
    use crate::grid::HOUR;

    fn baseline(state: &PairState) -> PairBaseline {
        let grid = Grid::new(&Settings::default());
        PairBaseline::new(&grid, &Pair::new("c", "shop/cart", "data/orders"), state, 240 * HOUR)
    }

    #[test]
    fn the_interval_of_a_share_is_that_of_the_textbook() {
        // Brown, Cai and DasGupta, table 5: n = 10.
        let near = |failed: f64, low: f64, high: f64| {
            let [l, h] = jeffreys(failed, 10.0);
            assert!((l - low).abs() < 6e-4 && (h - high).abs() < 6e-4, "{failed}: {l} {h}");
        };
        near(0.0, 0.0, 0.2172);
        near(1.0, 0.0110, 0.3813);
        near(5.0, 0.2235, 0.7765);
        assert_eq!(jeffreys(0.0, 0.0), [0.0, 1.0]);
    }

    #[test]
    fn a_learned_pair_shows_its_numbers_and_a_young_one_what_it_lacks() {
        let old = baseline(&learned(60));
        let latency = old.latency_ms.unwrap();
        assert!((15.0..25.0).contains(&latency.p50.unwrap()) && latency.p99 > latency.p50, "{latency:?}");
        assert_eq!(old.hours.iter().filter(|h| h.calls.is_some()).count(), 48);
        assert!((55.0..70.0).contains(&old.calls_per_hour.unwrap()));
        assert_eq!(old.errors.percent, Some(0.0));
        assert!(old.errors.percent_high > 0.0 && old.errors.percent_high < 0.1);
        assert!(
            (0.0..0.01).contains(&old.auth_failures.expected_per_hour) && old.auth_failures.hours > 100.0
        );
        assert_eq!(old.missing, ["sizes: 0 of the 100 calls that a judgement needs"]);

        let new = baseline(&PairState::new(0));
        assert_eq!((new.latency_ms, new.calls_per_hour, new.errors.percent), (None, None, None));
        assert_eq!(new.missing.len(), 1);
    }

    #[test]
    fn quantiles_that_few_calls_cannot_bear_are_left_out() {
        let mut past = Distribution::default();
        past.learn(
            &crate::detectors::tests::window(30, 20).of(Signal::LogServer).unwrap().latency,
            crate::baseline::Learn::Usual,
        );
        let seen = Quantiles::of(&past, 1.0).unwrap();
        assert!(seen.p50.is_some() && seen.p95.is_some() && seen.p99.is_none(), "{seen:?}");
    }
}
