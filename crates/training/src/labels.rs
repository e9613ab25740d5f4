//! What was really done to a recorded mesh: the `labels.json` beside a recording.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lapwing_telemetry::EventTime;
use serde::Deserialize;

/// The incidents of a recording, and the days they fall on.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    /// Which days are for training and which for scoring; `None` if the recording is too short for days,
    /// and then all of it is for scoring.
    pub timeline: Option<Timeline>,
    /// Everything that was done, in the order of the file.
    pub incidents: Vec<Incident>,
}

/// The days of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// The first moment of the training days.
    pub start: EventTime,
    /// The first moment of the test days, and the end of the training days.
    pub test_start: EventTime,
    /// The end of the test days.
    pub test_end: EventTime,
}

impl Timeline {
    /// How many days are scored; not necessarily whole.
    pub fn test_days(&self) -> f64 {
        self.test_end.since(self.test_start).as_secs_f64() / 86_400.0
    }
}

/// One thing that was done to the mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// The name of this incident, unique in its file.
    pub id: String,
    /// What was done, for example `latency_step`.
    pub kind: String,
    /// Whether it must be found. If not it is a hard negative, which must raise nothing of its own.
    pub expect_alert: bool,
    /// Whether it is scored, rather than part of the training days.
    pub test: bool,
    /// When it began.
    pub start: EventTime,
    /// When it ended.
    pub end: EventTime,
    /// Each time it was done, from and to: for most incidents the one time above.
    pub occurrences: Vec<(EventTime, EventTime)>,
    /// The caller, `namespace/service`; `edge` is a client outside the mesh, `*` many callers.
    pub source: String,
    /// The called service; `*` many.
    pub destination: String,
    /// What was done, in words.
    pub description: String,
    /// The pairs on which the incident itself shows, source and destination; `None` if the file does not say.
    pub observed_pairs: Option<Vec<(String, String)>>,
    /// Pairs whose numbers move as a plain consequence.
    pub collateral_pairs: Vec<(String, String)>,
    /// How it was done, for kinds that know several ways.
    pub variant: Option<String>,
    /// The identity that the caller showed instead of its own.
    pub presented_identity: Option<String>,
}

/// What can be wrong with a labels file. Every variant is `Rejected`: correct the file.
#[derive(Debug, thiserror::Error)]
pub enum LabelsError {
    /// The file could not be read; check the path.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the machine said.
        source: io::Error,
    },
    /// The file is not JSON of the labels' shape.
    #[error("read {} as labels: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// A value makes no sense.
    #[error("{}: {place}: {problem}", path.display())]
    Senseless {
        /// The file.
        path: PathBuf,
        /// The incident by its number from 0, or the timeline.
        place: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Reads a `labels.json`.
pub fn load_labels(path: &Path) -> Result<Labels, LabelsError> {
    let content = fs::read(path).map_err(|source| LabelsError::Read { path: path.to_owned(), source })?;
    let file: File = serde_json::from_slice(&content)
        .map_err(|source| LabelsError::Malformed { path: path.to_owned(), source })?;
    let senseless = |place: String, problem| LabelsError::Senseless { path: path.to_owned(), place, problem };

    let timeline = file.timeline.map(TimelineText::parse).transpose();
    let timeline = timeline.map_err(|problem| senseless("timeline".to_owned(), problem))?;
    let mut incidents = Vec::with_capacity(file.incidents.len());
    for (n, label) in file.incidents.into_iter().enumerate() {
        incidents.push(label.parse().map_err(|problem| senseless(format!("incident {n}"), problem))?);
    }
    Ok(Labels { timeline, incidents })
}

#[derive(Deserialize)]
struct File {
    timeline: Option<TimelineText>,
    incidents: Vec<Label>,
}

#[derive(Deserialize)]
struct TimelineText {
    start: String,
    train_days: u32,
    test_days: u32,
}

impl TimelineText {
    fn parse(self) -> Result<Timeline, &'static str> {
        let start = EventTime::parse_rfc3339(&self.start).ok_or("the start is not an RFC 3339 timestamp")?;
        if self.test_days == 0 {
            return Err("there are no test days");
        }
        let days = |n: u32| std::time::Duration::from_secs(u64::from(n) * 86_400);
        let test_start = start.plus(days(self.train_days));
        Ok(Timeline { start, test_start, test_end: test_start.plus(days(self.test_days)) })
    }
}

#[derive(Deserialize)]
struct Label {
    id: String,
    kind: String,
    expect_alert: bool,
    split: Option<Split>,
    start_unix_ns: u64,
    end_unix_ns: u64,
    occurrences_unix_ns: Option<Vec<(u64, u64)>>,
    source: String,
    destination: String,
    #[serde(default)]
    description: String,
    observed_pairs: Option<Vec<String>>,
    #[serde(default)]
    collateral_pairs: Vec<String>,
    variant: Option<String>,
    presented_identity: Option<String>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Split {
    Train,
    Test,
}

impl Label {
    fn parse(self) -> Result<Incident, &'static str> {
        let span = |(from, to): (u64, u64)| {
            let (from, to) = (EventTime::from_unix_nanos(from), EventTime::from_unix_nanos(to));
            if from <= to { Ok((from, to)) } else { Err("it ends before it starts") }
        };
        let (start, end) = span((self.start_unix_ns, self.end_unix_ns))?;
        let occurrences = self.occurrences_unix_ns.filter(|times| !times.is_empty());
        Ok(Incident {
            id: self.id,
            kind: self.kind,
            expect_alert: self.expect_alert,
            test: self.split != Some(Split::Train),
            start,
            end,
            occurrences: match occurrences {
                Some(times) => times.into_iter().map(span).collect::<Result<_, _>>()?,
                None => vec![(start, end)],
            },
            source: self.source,
            destination: self.destination,
            description: self.description,
            observed_pairs: self.observed_pairs.map(pairs).transpose()?,
            collateral_pairs: pairs(self.collateral_pairs)?,
            variant: self.variant,
            presented_identity: self.presented_identity,
        })
    }
}

fn pairs(texts: Vec<String>) -> Result<Vec<(String, String)>, &'static str> {
    let pair = |text: String| {
        let (source, destination) =
            text.split_once("->").ok_or("a pair is not written as source->destination")?;
        Ok((source.to_owned(), destination.to_owned()))
    };
    texts.into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expect: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), json).unwrap();
        let said = match load_labels(file.path()) {
            Ok(labels) => format!("{} incidents", labels.incidents.len()),
            Err(error) => error.to_string().replace(&*file.path().to_string_lossy(), "FILE"),
        };
        assert_eq!(said, expect);
    }

    #[test]
    fn what_is_wrong_with_a_labels_file_is_said_with_its_place() {
        let label = |more: &str| {
            format!(
                r#"{{"incidents": [{{"id": "i", "kind": "k", "expect_alert": true, "source": "a/b",
                "destination": "c/d", "start_unix_ns": 5000, "end_unix_ns": 9000{more}}}]}}"#
            )
        };
        check(&label(""), "1 incidents");
        check(&label(r#", "split": "train""#), "1 incidents");
        check(
            &label(r#", "occurrences_unix_ns": [[9000, 5000]]"#),
            "FILE: incident 0: it ends before it starts",
        );
        check(
            &label(r#", "observed_pairs": ["a/b"]"#),
            "FILE: incident 0: a pair is not written as source->destination",
        );
        check(
            r#"{"incidents": [], "timeline": {"start": "monday", "train_days": 7, "test_days": 3}}"#,
            "FILE: timeline: the start is not an RFC 3339 timestamp",
        );
        check("{}", "read FILE as labels: missing field `incidents` at line 1 column 2");
    }
}
