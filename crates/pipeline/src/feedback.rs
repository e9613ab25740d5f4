//! What people said of findings, in a file to which lines are only ever added: who, when, which, and why.
//!
//! A mark that a finding was false makes later ones of its kind on its pair more careful; one that it was true is kept
//! as evidence, and keeps its windows out of training. The latest mark of a finding counts. The file holds names of
//! services and numbers, and a reason that has been redacted.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

pub use lapwing_detection::feedback::MARGIN;
use lapwing_detection::{Mark, Marks, deviation};
use lapwing_telemetry::{EventTime, Finding, FindingKind};
use serde::{Deserialize, Serialize};

/// From when on a mark counts: every lapwing has read it by then, so that live and replay judge the same windows by it.
pub const SETTLES: Duration = Duration::from_secs(300);
/// For how long it counts.
pub const HOLDS: Duration = Duration::from_secs(90 * 86_400);
/// Bytes that the file may have.
const MAX_BYTES: u64 = 32 << 20;

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feedback {
    /// When it was said, RFC 3339.
    pub at: String,
    /// From when on it counts, RFC 3339.
    pub from: String,
    /// Who said it.
    pub by: String,
    /// The finding.
    pub id: String,
    /// What was said of it.
    pub verdict: Verdict,
    /// Why, redacted.
    pub reason: Option<String>,
    /// The finding's kind.
    pub kind: FindingKind,
    /// Its cluster.
    pub cluster: String,
    /// The calling service.
    pub source: Option<String>,
    /// The called service.
    pub destination: Option<String>,
    /// How many times more, or less, than expected was observed, in the revision that went farthest.
    pub deviation: f64,
    /// The first window's start, RFC 3339.
    pub window_start: String,
    /// The last window's end, RFC 3339.
    pub window_end: String,
}

/// What is said of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Something was the matter.
    True,
    /// Nothing was the matter.
    False,
}

impl Feedback {
    /// What somebody says of a finding, given its revisions, at least one.
    pub fn new(
        revisions: &[Finding],
        verdict: Verdict,
        by: String,
        reason: Option<String>,
        at: EventTime,
        from: EventTime,
    ) -> Option<Feedback> {
        let first = revisions.first()?;
        let farthest = revisions.iter().map(|f| deviation(f.observed, f.expected)).fold(1.0, f64::max);
        let start = revisions.iter().map(|f| f.window_start).min()?;
        let end = revisions.iter().map(|f| f.window_end).max()?;
        Some(Feedback {
            at: at.to_string(),
            from: from.to_string(),
            by,
            id: first.id.clone(),
            verdict,
            reason,
            kind: first.kind,
            cluster: first.cluster.clone(),
            source: first.source.clone(),
            destination: first.destination.clone(),
            deviation: farthest,
            window_start: start.to_string(),
            window_end: end.to_string(),
        })
    }

    /// What judging needs of it; `None` for a true one, and for kinds that are not about a pair.
    pub fn mark(&self) -> Option<Mark> {
        let from = EventTime::parse_rfc3339(&self.from)?;
        Some(Mark {
            kind: self.kind,
            cluster: self.cluster.clone(),
            source: self.source.clone()?,
            destination: self.destination.clone()?,
            deviation: self.deviation,
            from,
            until: from.plus(HOLDS),
        })
        .filter(|_| self.verdict == Verdict::False)
    }

    /// Whether a finding that was true lies on this pair in this window.
    pub fn covers(&self, source: &str, destination: &str, start: EventTime, end: EventTime) -> bool {
        let time = EventTime::parse_rfc3339;
        self.verdict == Verdict::True
            && self.source.as_deref() == Some(source)
            && self.destination.as_deref().is_none_or(|name| name == destination)
            && time(&self.window_start).is_some_and(|first| first < end)
            && time(&self.window_end).is_some_and(|last| start < last)
    }
}

/// The latest word about each finding, by id; none if there is no file.
///
/// # Errors
/// Says which line is wrong, never what it holds.
pub fn read(file: &Path) -> Result<Vec<Feedback>, String> {
    let said = |what: String| format!("feedback file `{}`{what}", file.display());
    match fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(said(format!(": {error}"))),
        Ok(found) if found.len() > MAX_BYTES => {
            return Err(said(format!(" has more than {MAX_BYTES} bytes: move it away and begin a new one")));
        }
        Ok(_) => {}
    }
    let content = fs::read_to_string(file).map_err(|e| said(format!(": {e}")))?;
    let mut latest = BTreeMap::new();
    for (n, line) in content.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let feedback: Feedback = serde_json::from_str(line).map_err(|e| {
            said(format!(" line {}: not feedback, at column {}; correct or remove it", n + 1, e.column()))
        })?;
        latest.insert(feedback.id.clone(), feedback);
    }
    Ok(latest.into_values().collect())
}

/// The marks that judging needs.
///
/// # Errors
/// As for [`read`].
pub fn marks(file: &Path) -> Result<Marks, String> {
    Ok(Marks::new(read(file)?.iter().filter_map(Feedback::mark).collect()))
}

/// Adds lines, durably.
///
/// # Errors
/// Says in words why the file cannot be written.
pub fn append(file: &Path, feedback: &[Feedback]) -> Result<(), String> {
    let said = |e: io::Error| format!("feedback file `{}`: {e}", file.display());
    let mut lines = String::new();
    for line in feedback {
        lines += &serde_json::to_string(line).map_err(|e| e.to_string())?;
        lines.push('\n');
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(said)?;
    }
    let mut out = OpenOptions::new().create(true).append(true).open(file).map_err(said)?;
    out.write_all(lines.as_bytes()).and_then(|()| out.sync_all()).map_err(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feedback(id: &str, verdict: Verdict) -> Feedback {
        Feedback {
            at: "2026-03-09T10:00:00Z".into(),
            from: "2026-03-09T10:05:00Z".into(),
            by: "jo".into(),
            id: id.into(),
            verdict,
            reason: None,
            kind: FindingKind::VolumeSpike,
            cluster: "c".into(),
            source: Some("shop/cart".into()),
            destination: Some("data/orders".into()),
            deviation: 4.0,
            window_start: "2026-03-09T09:00:00Z".into(),
            window_end: "2026-03-09T09:10:00Z".into(),
        }
    }

    #[test]
    fn the_latest_word_counts_and_a_bad_line_is_named_and_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deep/feedback.ndjson");
        assert!(marks(&file).unwrap().is_empty());
        append(&file, &[feedback("a", Verdict::False), feedback("b", Verdict::False)]).unwrap();
        append(&file, &[feedback("a", Verdict::True)]).unwrap();
        assert_eq!((read(&file).unwrap().len(), marks(&file).unwrap().len()), (2, 1));
        assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 3, "nothing is taken back");
        let time = |text| EventTime::parse_rfc3339(text).unwrap();
        let (from, to) = (time("2026-03-09T09:05:00Z"), time("2026-03-09T09:15:00Z"));
        assert!(feedback("a", Verdict::True).covers("shop/cart", "data/orders", from, to));
        assert!(!feedback("a", Verdict::True).covers("shop/cart", "data/other", from, to));
        fs::write(&file, "planted\n").unwrap();
        let error = read(&file).unwrap_err();
        assert!(error.contains("line 1") && !error.contains("planted"), "{error}");
    }
}
