//! The windows around a finding, by replaying what came before it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::ProgressBar;
use lapwing_pipeline::replay::{Finding, Observer, Reading, Watch, replay};
use lapwing_pipeline::settings::Settings;
use lapwing_telemetry::EventTime;

use super::measure::measure;
use super::{Evidence, Windows};
use crate::output::progress_bar;
use crate::plot::Point;

/// Shown after the end of a finding.
const AFTER: Duration = Duration::from_secs(2 * 3_600);
const HOUR: Duration = Duration::from_secs(3_600);

/// Replays `inputs` up to the end of the finding; the inner error says why there is nothing to show.
///
/// # Errors
/// The recording cannot be read.
pub(super) fn windows(
    settings: &Settings,
    inputs: &[PathBuf],
    evidence: &Evidence,
    days: u32,
) -> anyhow::Result<Result<Windows, String>> {
    let opened = &evidence.opened;
    let Some(source) = opened.source.clone().filter(|source| source != "*") else {
        return Ok(Err("it is about the whole mesh and not about calls between services".to_owned()));
    };
    let until = evidence.latest.closed_at.unwrap_or(evidence.latest.window_end).plus(AFTER);
    let watch = Watch {
        cluster: opened.cluster.clone(),
        source,
        destination: opened.destination.clone(),
        from: opened.window_start.minus(Duration::from_secs(86_400 * u64::from(days))),
    };
    let mut tracer = Tracer {
        watch,
        until,
        id: opened.id.clone(),
        found_again: false,
        readings: Vec::new(),
        latest: EventTime::MIN,
        bar: progress_bar("replaying"),
    };
    let summary = replay(settings, inputs, None, &mut tracer).map_err(anyhow::Error::msg)?;
    tracer.bar.finish_and_clear();
    tracer.readings.retain(|r| r.end <= until);
    if tracer.readings.is_empty() {
        return Ok(Err(format!(
            "the recording has no window of this pair around {}; it covers {} to {}",
            opened.window_start,
            summary.first_received_at.as_deref().unwrap_or("nothing"),
            summary.last_received_at.as_deref().unwrap_or("nothing"),
        )));
    }
    let measure = measure(opened);
    // Windows as long as the finding's own, or the nearest there are.
    let slow = opened.window_end.since(opened.window_start) >= HOUR;
    let kept: Vec<Reading> =
        tracer.readings.into_iter().filter(|r| (r.end.since(r.start) >= HOUR) == slow).collect();
    let before = kept.iter().filter(|r| r.end <= opened.opened_at);
    let hours_learned = before.map(|r| r.hours_learned).max().unwrap_or(0);
    let (name, points) = if opened.destination.is_some() {
        (measure.name, kept.iter().map(|r| point(r, measure.of(r))).collect())
    } else {
        ("services called", services(&kept))
    };
    let unit = if opened.destination.is_none() { "services" } else { measure.unit };
    let counts = measure.counts || opened.destination.is_none();
    Ok(Ok(Windows {
        measure: name,
        unit: if counts { format!("{unit}/{}", if slow { "h" } else { "10min" }) } else { unit.to_owned() },
        found_again: tracer.found_again,
        hours_learned,
        calls_replayed: summary.calls,
        from: summary.first_received_at.unwrap_or_default(),
        points,
    }))
}

fn point(reading: &Reading, value: Option<lapwing_pipeline::replay::Value>) -> Point {
    Point {
        start: reading.start.0,
        end: reading.end.0,
        observed: value.and_then(|v| v.observed),
        expected: value.and_then(|v| v.expected),
        low: value.and_then(|v| v.low),
        high: value.and_then(|v| v.high),
    }
}

/// For findings about a source alone: how many services it called in each window.
fn services(readings: &[Reading]) -> Vec<Point> {
    let mut by_window: BTreeMap<(i64, i64), usize> = BTreeMap::new();
    for reading in readings {
        let called = by_window.entry((reading.start.0, reading.end.0)).or_default();
        *called += usize::from(reading.calls.observed > Some(0.0));
    }
    let points = by_window.into_iter().map(|((start, end), n)| Point {
        start,
        end,
        observed: Some(n as f64),
        expected: None,
        low: None,
        high: None,
    });
    points.collect()
}

struct Tracer {
    watch: Watch,
    until: EventTime,
    id: String,
    found_again: bool,
    readings: Vec<Reading>,
    latest: EventTime,
    bar: ProgressBar,
}

impl Observer for Tracer {
    fn findings(&mut self, findings: Vec<Finding>) -> Result<(), String> {
        self.found_again |= findings.iter().any(|finding| finding.id == self.id);
        Ok(())
    }

    fn watch(&self) -> Option<Watch> {
        Some(self.watch.clone())
    }

    fn readings(&mut self, readings: Vec<Reading>) {
        self.latest = readings.iter().map(|r| r.end).fold(self.latest, EventTime::max);
        self.readings.extend(readings);
    }

    fn is_done(&self) -> bool {
        self.latest > self.until
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
}
