//! From alarms of single series to findings, and from findings of one time to incidents.

use std::collections::BTreeMap;

use lapwing_telemetry::{EventTime, FindingState};

use super::{MetricKind, SeriesFinding, SeriesKey};

/// A sample that is more unusual than the budget allows.
#[derive(Clone, Debug)]
pub(crate) struct Alarm<'a> {
    pub(crate) at: EventTime,
    pub(crate) key: &'a SeriesKey,
    pub(crate) kind: MetricKind,
    pub(crate) score: f64,
    pub(crate) observed: f64,
    pub(crate) expected: f64,
    /// Whether it is the first of its series after a quiet time.
    pub(crate) opens: bool,
    /// Whether it is to be told, be it new or lasting.
    pub(crate) tells: bool,
    /// Microseconds between samples.
    pub(crate) step: f64,
}

/// An incident takes what comes within so many steps of its latest finding.
const JOIN_STEPS: f64 = 3.0;
/// Services named as origins.
const MAX_ORIGINS: usize = 3;

/// Makes findings of alarms in order of time.
#[derive(Default)]
pub(crate) struct Reporter {
    n: u64,
    latest: f64,
    /// Callers and services of the present incident, with the greatest score of each pair.
    parts: BTreeMap<(String, String), f64>,
}

impl Reporter {
    /// The finding that an alarm opens or tells again. A resource is reported only while something else is.
    pub(crate) fn report(&mut self, alarm: &Alarm<'_>) -> Option<SeriesFinding> {
        let at = alarm.at.0 as f64;
        let joins = self.n > 0 && at - self.latest <= JOIN_STEPS * alarm.step;
        let is_cause = alarm.kind == MetricKind::Resource;
        if !alarm.tells || (is_cause && !joins) {
            return None;
        }
        if !joins {
            self.n += 1;
            self.parts.clear();
        }
        if !is_cause {
            self.latest = at;
        }
        Some(self.finding(alarm))
    }

    fn finding(&mut self, alarm: &Alarm<'_>) -> SeriesFinding {
        let key = alarm.key;
        let part = self.parts.entry((key.source.clone(), key.destination.clone())).or_default();
        *part = part.max(alarm.score);
        SeriesFinding {
            timestamp: alarm.at,
            source: key.source.clone(),
            destination: key.destination.clone(),
            metric: key.metric.clone(),
            score: alarm.score,
            kind: alarm.kind,
            observed: alarm.observed,
            expected: alarm.expected,
            state: if alarm.opens { FindingState::Open } else { FindingState::Update },
            incident: self.n,
            origins: self.origins(),
            explanation: format!(
                "{} where {} was foretold; as rare as one in 10^{:.1} samples",
                plain(alarm.observed),
                plain(alarm.expected),
                alarm.score
            ),
        }
    }

    /// Services by blame: the greatest score of what is called, but a tenth of it where its own calls show the
    /// same, because then it passes on what it suffers. As incidents of pairs are judged.
    fn origins(&self) -> Vec<String> {
        let mut blame: BTreeMap<&str, f64> = BTreeMap::new();
        for ((_, service), score) in &self.parts {
            let passed_on = self.parts.keys().any(|(source, other)| source == service && other != service);
            let points = blame.entry(service).or_default();
            *points = points.max(if passed_on { score / 10.0 } else { *score });
        }
        let mut blame: Vec<(&str, f64)> = blame.into_iter().collect();
        blame.sort_by(|a, b| b.1.total_cmp(&a.1));
        blame.into_iter().take(MAX_ORIGINS).map(|(name, _)| name.to_owned()).collect()
    }

    pub(crate) fn incidents(&self) -> u64 {
        self.n
    }
}

/// Four digits that matter.
fn plain(value: f64) -> String {
    let digits = 3 - libm::log10(value.abs().max(1e-9)).floor() as i32;
    format!("{value:.*}", digits.clamp(0, 9) as usize)
}
