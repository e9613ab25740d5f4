//! Windows of chosen pairs, written down as they are judged: what was seen beside what was usual at that moment.
//!
//! An engine that nobody watches pays one comparison a window.

use lapwing_telemetry::{EventTime, Pair};
use serde::{Serialize, Serializer};

use crate::counts::{Counts, Histogram};
use crate::detectors::{errors, exfiltration, refusals};
use crate::grid::{Grid, HOURS, TENS};
use crate::pair_state::PairState;

/// Readings kept until somebody takes them; further ones are dropped.
const MAX_READINGS: usize = 1 << 17;

/// Which pairs are watched, and from when on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The cluster.
    pub cluster: String,
    /// The calling service.
    pub source: String,
    /// The called service; every one if `None`.
    pub destination: Option<String>,
    /// Windows that end before are not written down.
    pub from: EventTime,
}

/// A window of a watched pair, of about ten minutes or about an hour.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// The pair.
    #[serde(flatten)]
    pub pair: Pair,
    /// Start of the window.
    #[serde(serialize_with = "text")]
    pub start: EventTime,
    /// Its end.
    #[serde(serialize_with = "text")]
    pub end: EventTime,
    /// Hours that the baseline had learned.
    pub hours_learned: u32,
    /// Calls.
    pub calls: Value,
    /// The median duration, milliseconds; nine in ten of the past are below `high`.
    pub latency_ms: Value,
    /// Failed calls, percent.
    pub errors_percent: Option<Value>,
    /// Calls refused for their token.
    pub auth_failures: Value,
    /// Calls that a policy denied.
    pub policy_denials: Value,
    /// Handshakes that failed.
    pub tls_failures: Value,
    /// Requests, KiB.
    pub sent_kib: Option<Value>,
    /// Responses, KiB.
    pub taken_kib: Option<Value>,
}

/// What was seen, and what was usual.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Value {
    /// What was seen; `None` if there was nothing to measure.
    pub observed: Option<f64>,
    /// What the baseline expected; `None` if it had not learned enough to judge.
    pub expected: Option<f64>,
    /// The least that was usual; `None` if less is never unusual.
    pub low: Option<f64>,
    /// The most that was usual, or that no finding is made of.
    pub high: Option<f64>,
}

/// The watch of an engine, and what it has written down.
pub(crate) struct Watching {
    watch: Watch,
    readings: Vec<Reading>,
}

impl Watching {
    pub(crate) fn new(watch: Watch) -> Watching {
        Watching { watch, readings: Vec::new() }
    }

    pub(crate) fn take(&mut self) -> Vec<Reading> {
        std::mem::take(&mut self.readings)
    }

    /// Writes a window down, before it is judged and learned.
    pub(crate) fn see(
        &mut self,
        grid: &Grid,
        pair: &Pair,
        state: &PairState,
        counts: &Counts,
        level: usize,
        end: i64,
    ) {
        let Watch { cluster, source, destination, from } = &self.watch;
        let fits = *pair.cluster == **cluster
            && *pair.source == **source
            && destination.as_ref().is_none_or(|name| *pair.destination == **name);
        if fits && (level == TENS || level == HOURS) && end >= from.0 && self.readings.len() < MAX_READINGS {
            self.readings.push(Reading::new(grid, pair, state, counts, level, end));
        }
    }
}

impl Reading {
    fn new(grid: &Grid, pair: &Pair, state: &PairState, counts: &Counts, level: usize, end: i64) -> Reading {
        let hours = grid.hours(level);
        let seen = state.reported(counts);
        let learned = |value: f64| state.is_learned().then_some(value);
        let (n, volume) = (seen.map_or(0, |c| c.calls), &state.volume);
        let calls = if state.reporter.is_some() { n } else { counts.most(|c| c.calls) };
        let refused = |n: u64, usual: &crate::baseline::Failures| {
            let expected = usual.expected(hours, counts.most(|c| c.calls));
            Value {
                observed: Some(n as f64),
                expected: Some(expected),
                low: None,
                high: Some(refusals::usual_most(expected)),
            }
        };
        let size = |way: usize| {
            let (past, now): (_, &Histogram) = (&state.sizes[way], &seen?.sizes[way]);
            let usual = past.mean() * now.total() as f64;
            let known = |value: f64| (past.total() > 0.0).then_some(value / 1_024.0);
            (now.total() > 0).then(|| Value {
                observed: Some(now.sum() / 1_024.0),
                expected: known(usual),
                low: None,
                high: known(exfiltration::usual_most(usual)),
            })
        };
        Reading {
            pair: pair.clone(),
            start: EventTime(end - grid.lengths[level]),
            end: EventTime(end),
            hours_learned: state.hours_learned,
            calls: Value {
                observed: Some(calls as f64),
                expected: learned(volume.now.expected * hours),
                low: learned(volume.usual_least(hours)),
                high: learned(volume.usual_most(grid, level)),
            },
            latency_ms: Value {
                observed: seen.and_then(|c| c.latency.quantile_ms(0.5)),
                expected: state.latency.quantile_ms(0.5),
                low: None,
                high: state.latency.quantile_ms(0.9),
            },
            errors_percent: seen.filter(|c| c.calls > 0).map(|c| Value {
                observed: Some(100.0 * c.errors.saturating_sub(state.excused[level]) as f64 / c.calls as f64),
                expected: Some(100.0 * state.errors.share()),
                low: None,
                high: Some(100.0 * errors::usual_most(state.errors.share(), c.calls)),
            }),
            auth_failures: refused(counts.most(|c| c.auth), &state.auth),
            policy_denials: refused(counts.most(|c| c.policy), &state.policy),
            tls_failures: refused(counts.most(|c| c.tls), &state.tls),
            sent_kib: size(0),
            taken_kib: size(1),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn text<S: Serializer>(time: &EventTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::detectors::tests::{learned, window};
    use crate::grid::HOUR;

    #[test]
    fn a_watched_pair_is_written_down_beside_what_was_usual_and_others_are_not() {
        let grid = Grid::new(&Settings::default());
        let watch = Watch {
            cluster: "c".into(),
            source: "shop/cart".into(),
            destination: Some("data/orders".into()),
            from: EventTime(240 * HOUR),
        };
        let mut watching = Watching::new(watch);
        let state = learned(60);
        let mut see = |destination: &str, level, end| {
            watching.see(
                &grid,
                &Pair::new("c", "shop/cart", destination),
                &state,
                &window(180, 90),
                level,
                end,
            );
        };
        see("data/orders", HOURS, 239 * HOUR);
        see("data/other", HOURS, 241 * HOUR);
        see("data/orders", crate::grid::BASE, 241 * HOUR);
        see("data/orders", HOURS, 241 * HOUR);
        let readings = watching.take();
        assert_eq!(readings.len(), 1);
        let calls = readings[0].calls;
        assert_eq!(calls.observed, Some(180.0));
        assert!(calls.high.unwrap() < 180.0 && calls.low.unwrap() < calls.expected.unwrap(), "{calls:?}");
        let latency = readings[0].latency_ms;
        assert!(latency.observed.unwrap() > 80.0 && latency.high.unwrap() < 30.0, "{latency:?}");
        assert_eq!(readings[0].errors_percent.unwrap().observed, Some(0.0));
        assert!(watching.take().is_empty());
    }
}
