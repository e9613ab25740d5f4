//! Series of numbers at a fixed step, from any tool: rows in, findings out.
//!
//! Where calls are known, a pair's windows are judged as counts and distributions. Here only one number a step is
//! known, and not what it means; so a series is judged by how well it could be foretold ([`forecast`]) and by how rare
//! such a miss is in its own past ([`tail`]). A value is judged first and learned afterwards. Each series is judged
//! alone and in order of time, so findings do not depend on the order of rows, nor on other series but for
//! their number ([`SeriesSettings::budget`]) and the incidents that findings are joined to ([`report`]).

mod forecast;
mod judge;
mod kind;
mod report;
mod tail;

use std::collections::{BTreeMap, BTreeSet};

use lapwing_telemetry::{EventTime, FindingState};
use serde::{Serialize, Serializer};

pub use kind::MetricKind;

use report::{Alarm, Reporter};

/// What one series is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SeriesKey {
    /// Calling service; empty where the metric is about the destination alone.
    pub source: String,
    /// Called service, or the thing that is measured.
    pub destination: String,
    /// Name of the metric.
    pub metric: String,
}

/// A value and when it was known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The time of the row: the value is taken as known then.
    pub at: EventTime,
    /// The value; must be finite.
    pub value: f64,
}

/// A series and its samples, in any order.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesData {
    /// What is measured, which says how large a change must be to matter.
    pub kind: MetricKind,
    /// The samples; equal times are averaged.
    pub samples: Vec<Sample>,
}

/// What an operator may choose.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesSettings {
    /// False findings a day that are acceptable for a system of series; where services have one series each, for each
    /// of them. Divided among the tests of a day (Bonferroni).
    pub budget: f64,
    /// Until when the file is known to hold what is usual: nothing is reported before, and what deviates afterwards
    /// is not learned. Without it, what recurs becomes usual.
    pub train_until: Option<EventTime>,
}

impl Default for SeriesSettings {
    fn default() -> SeriesSettings {
        SeriesSettings { budget: 1.0, train_until: None }
    }
}

/// Something unusual in one series, told once: when it began.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeriesFinding {
    /// When it was first known: the time of the row. RFC 3339 when serialised.
    #[serde(serialize_with = "in_words")]
    pub timestamp: EventTime,
    /// Calling service, or empty.
    pub source: String,
    /// Called service, or the thing that is measured.
    pub destination: String,
    /// Name of the metric.
    pub metric: String,
    /// Minus the decimal logarithm of the probability of what was seen, under the baseline; at most 20.
    pub score: f64,
    /// What the metric was taken for.
    pub kind: MetricKind,
    /// The value.
    pub observed: f64,
    /// The value that was foretold.
    pub expected: f64,
    /// `open`, or `update` while it lasts.
    pub state: FindingState,
    /// Number of the incident, from 1: findings of several series at one time have one cause.
    pub incident: u64,
    /// Services of the incident by how strong their part in it is, as known when this finding was made.
    pub origins: Vec<String>,
    /// The same for people.
    pub explanation: String,
}

/// What was judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SeriesSummary {
    /// Series.
    pub series: u64,
    /// Series too short or too irregular to be judged: fewer than 32 samples.
    pub not_judged: u64,
    /// Samples.
    pub samples: u64,
    /// Samples beside each other that are further apart than three steps.
    pub gaps: u64,
    /// Findings.
    pub findings: u64,
    /// Incidents.
    pub incidents: u64,
    /// Series by kind.
    pub kinds: BTreeMap<MetricKind, u64>,
    /// First sample; RFC 3339 when serialised, as is the last.
    #[serde(serialize_with = "maybe_in_words")]
    pub first: Option<EventTime>,
    /// Last sample.
    #[serde(serialize_with = "maybe_in_words")]
    pub last: Option<EventTime>,
}

/// Judges series; `progress` is told how many of them are done. Findings come in order of time.
pub fn judge_series(
    series: &BTreeMap<SeriesKey, SeriesData>,
    settings: &SeriesSettings,
    mut progress: impl FnMut(u64),
) -> (Vec<SeriesFinding>, SeriesSummary) {
    let mut summary = SeriesSummary { series: series.len() as u64, ..SeriesSummary::default() };
    let sharers = sharers(series);
    let mut alarms: Vec<Alarm<'_>> = Vec::new();
    for (done, (key, data)) in series.iter().enumerate() {
        let samples = in_order(&data.samples);
        *summary.kinds.entry(data.kind).or_default() += 1;
        summary.samples += data.samples.len() as u64;
        summary.first = summary.first.into_iter().chain(samples.first().map(|s| s.at)).min();
        summary.last = summary.last.into_iter().chain(samples.last().map(|s| s.at)).max();
        match judge::alarms(key, data.kind, &samples, settings, sharers) {
            Some(judged) => {
                summary.gaps += judged.gaps;
                alarms.extend(judged.alarms);
            }
            None => summary.not_judged += 1,
        }
        progress(done as u64 + 1);
    }
    alarms.sort_by(|a, b| (a.at, a.key).cmp(&(b.at, b.key)));
    let mut reporter = Reporter::default();
    let findings: Vec<SeriesFinding> = alarms.iter().filter_map(|alarm| reporter.report(alarm)).collect();
    summary.findings = findings.len() as u64;
    summary.incidents = reporter.incidents();
    (findings, summary)
}

/// How many series share the budget. Where services have several metrics, the file describes one system, whose
/// operator hears all its findings; where each name has one series, they are strangers, each with a budget of its own.
fn sharers(series: &BTreeMap<SeriesKey, SeriesData>) -> usize {
    let things: BTreeSet<(&str, &str)> =
        series.keys().map(|k| (k.source.as_str(), k.destination.as_str())).collect();
    if things.len() < series.len() { series.len() } else { 1 }
}

/// Sorts by time and averages samples of one time, whatever order they come in.
fn in_order(samples: &[Sample]) -> Vec<Sample> {
    let mut sorted: Vec<Sample> = samples.iter().copied().filter(|s| s.value.is_finite()).collect();
    sorted.sort_by(|a, b| a.at.cmp(&b.at).then(a.value.total_cmp(&b.value)));
    let mut out: Vec<Sample> = Vec::with_capacity(sorted.len());
    for same in sorted.chunk_by(|a, b| a.at == b.at) {
        let mean = same.iter().map(|s| s.value / same.len() as f64).sum();
        out.push(Sample { at: same[0].at, value: if same.len() == 1 { same[0].value } else { mean } });
    }
    out
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn in_words<S: Serializer>(at: &EventTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn maybe_in_words<S: Serializer>(at: &Option<EventTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
#[path = "series/tests.rs"]
mod tests;
