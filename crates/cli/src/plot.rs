//! Plots: numbers over time beside what was usual, at a terminal and as SVG.

pub(crate) mod svg;
pub(crate) mod terminal;
pub(crate) mod timeline;

use lapwing_telemetry::EventTime;

/// Numbers over time.
pub(crate) struct Chart {
    /// What is shown, for people.
    pub(crate) title: String,
    /// Unit of the numbers.
    pub(crate) unit: String,
    /// The windows, in order of time.
    pub(crate) points: Vec<Point>,
    /// The time in which the finding stood, from the start of its first window.
    pub(crate) marked: (EventTime, EventTime),
    /// Other moments of interest: when other findings opened.
    pub(crate) moments: Vec<EventTime>,
}

/// A window.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Point {
    /// Its start, microseconds since the epoch.
    pub(crate) start: i64,
    /// Its end.
    pub(crate) end: i64,
    /// What was seen; `None` if there was nothing to measure.
    pub(crate) observed: Option<f64>,
    /// What the baseline expected.
    pub(crate) expected: Option<f64>,
    /// The least that was usual.
    pub(crate) low: Option<f64>,
    /// The most.
    pub(crate) high: Option<f64>,
}

impl Chart {
    /// From the first window's start to the last one's end.
    fn span(&self) -> (i64, i64) {
        let start = self.points.first().map_or(0, |p| p.start);
        (start, self.points.last().map_or(start, |p| p.end).max(start + 1))
    }

    /// The highest value to show: what was seen in full, and of the band what belongs beside it.
    fn top(&self) -> f64 {
        let seen = self.points.iter().filter_map(|p| p.observed).fold(0.0, f64::max);
        let band = self.points.iter().filter_map(|p| p.high.or(p.expected)).fold(0.0, f64::max);
        let top = seen.max(band.min(3.0 * seen.max(1.0)));
        if top > 0.0 { top * 1.05 } else { 1.0 }
    }
}

/// A number for an axis.
fn tick(value: f64) -> String {
    match value.abs() {
        v if v >= 10_000.0 => format!("{:.0}k", value / 1_000.0),
        v if v >= 10.0 || v == 0.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Day and minute of a moment: `03-10 09:00`.
pub(crate) fn minute(at: EventTime) -> String {
    let text = at.to_string();
    text.get(5..16).map_or(text.clone(), |part| part.replace('T', " "))
}
