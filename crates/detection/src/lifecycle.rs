//! From claims to findings: one finding per kind and pair, from opening to closing, in revisions.

use std::collections::BTreeMap;

use lapwing_telemetry::{EventTime, Exemplar, Finding, FindingKind, FindingState, Pair, Severity};
use serde::{Deserialize, Serialize};

use crate::claim::Claim;
use crate::grid::{HOUR, MINUTE};

/// A finding is updated at most this often.
const UPDATE_EVERY: i64 = 5 * MINUTE;
/// A finding whose condition was not confirmed for this long closes, whatever its detector says.
const MAX_QUIET: i64 = 6 * HOUR;

/// The open findings of a pair.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Open {
    conditions: BTreeMap<FindingKind, Condition>,
    /// Start of the window that last opened a finding, by kind. No later finding opens from there or before:
    /// a longer horizon would report the same calls again, under the same id.
    reported: BTreeMap<FindingKind, i64>,
}

/// A condition that is going on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Condition {
    /// As last published.
    finding: Finding,
    /// Evidence of the last revision.
    evidence: f64,
    /// When the last revision was published.
    revised_at: i64,
    /// When the condition is over if nothing confirms it.
    ends_at: i64,
}

/// Who a finding is about, and who makes it.
pub(crate) struct Subject<'a> {
    /// Names in the finding's id.
    pub(crate) pair: &'a Pair,
    pub(crate) source: Option<&'a str>,
    pub(crate) destination: Option<&'a str>,
    pub(crate) made_by: &'a str,
}

impl<'a> Subject<'a> {
    pub(crate) fn pair(pair: &'a Pair, made_by: &'a str) -> Subject<'a> {
        Subject { pair, source: Some(&pair.source), destination: Some(&pair.destination), made_by }
    }
}

impl Open {
    pub(crate) fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Kinds and ids of the findings that are open.
    pub(crate) fn ids(&self) -> impl Iterator<Item = (FindingKind, &str)> {
        self.conditions.iter().map(|(kind, open)| (*kind, open.finding.id.as_str()))
    }

    /// Whether a finding of this kind is open.
    pub(crate) fn has(&self, kind: FindingKind) -> bool {
        self.conditions.contains_key(&kind)
    }

    /// Takes in a claim; gives the revision to publish, if it makes one.
    pub(crate) fn claim(
        &mut self,
        claim: Claim,
        subject: &Subject<'_>,
        exemplars: impl FnOnce() -> Vec<Exemplar>,
    ) -> Option<Finding> {
        let ends_at = claim.end + claim.quiet.min(MAX_QUIET);
        if let Some(open) = self.conditions.get_mut(&claim.kind) {
            open.ends_at = open.ends_at.max(ends_at);
            let grown = claim.evidence >= 2.0 * open.evidence || claim.severity > open.finding.severity;
            if !grown || claim.end - open.revised_at < UPDATE_EVERY {
                return None;
            }
            (open.evidence, open.revised_at) = (claim.evidence, claim.end);
            let (id, opened_at) = (open.finding.id.clone(), open.finding.opened_at);
            let severity = claim.severity.max(open.finding.severity);
            let revision = open.finding.revision + 1;
            open.finding = Finding {
                id,
                revision,
                state: FindingState::Update,
                opened_at,
                severity,
                ..finding(claim, subject, exemplars())
            };
            return Some(open.finding.clone());
        }
        if self.reported.get(&claim.kind).is_some_and(|start| claim.start <= *start) {
            return None;
        }
        let (kind, evidence, revised_at) = (claim.kind, claim.evidence, claim.end);
        self.reported.insert(kind, claim.start);
        let finding = finding(claim, subject, exemplars());
        self.conditions.insert(kind, Condition { finding: finding.clone(), evidence, revised_at, ends_at });
        Some(finding)
    }

    /// Closes what nothing has confirmed until `now`, a boundary.
    pub(crate) fn close(&mut self, now: i64, out: &mut Vec<Finding>) {
        self.conditions.retain(|_, open| {
            if now < open.ends_at {
                return true;
            }
            out.push(Finding {
                revision: open.finding.revision + 1,
                state: FindingState::Close,
                closed_at: Some(EventTime(now)),
                ..open.finding.clone()
            });
            false
        });
    }
}

/// The first revision of a claim's finding.
fn finding(claim: Claim, subject: &Subject<'_>, exemplars: Vec<Exemplar>) -> Finding {
    let id = Finding::make_id(claim.kind, subject.pair, EventTime(claim.start));
    Finding {
        incident: id.clone(),
        id,
        revision: 1,
        state: FindingState::Open,
        kind: claim.kind,
        detector: claim.detector.to_owned(),
        severity: claim.severity,
        score: finite(1.0 - claim.p).clamp(0.0, 1.0),
        confidence: finite(claim.confidence).clamp(0.0, 1.0),
        cluster: subject.pair.cluster.to_string(),
        source: subject.source.map(str::to_owned),
        destination: subject.destination.map(str::to_owned),
        signal: claim.signal,
        window_start: EventTime(claim.start),
        window_end: EventTime(claim.end),
        opened_at: EventTime(claim.end),
        closed_at: None,
        observed: finite(claim.observed),
        expected: finite(claim.expected),
        expected_low: claim.low.map(finite),
        expected_high: claim.high.map(finite),
        unit: claim.unit,
        explanation: claim.explanation,
        exemplars,
        origins: Vec::new(),
        made_by: subject.made_by.to_owned(),
    }
}

/// JSON has no word for infinity.
fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}

/// Severity by how many calls show a condition.
pub(crate) fn by_count(n: u64) -> Severity {
    match n {
        0..10 => Severity::Low,
        10..50 => Severity::Medium,
        50..1_000 => Severity::High,
        _ => Severity::Critical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exemplars::Class;

    fn claim(end_min: i64, evidence: f64, severity: Severity) -> Claim {
        Claim {
            kind: FindingKind::VolumeSpike,
            detector: "volume",
            severity,
            p: 1e-9,
            confidence: 0.5,
            signal: None,
            start: (end_min - 10) * MINUTE,
            end: end_min * MINUTE,
            observed: evidence,
            expected: f64::INFINITY,
            low: None,
            high: None,
            unit: "calls/10min".to_owned(),
            explanation: String::new(),
            class: Class::Any,
            evidence,
            quiet: 30 * MINUTE,
        }
    }

    #[test]
    fn a_condition_opens_once_grows_and_closes_when_it_is_quiet() {
        let pair = Pair::new("c", "a/b", "c/d");
        let subject = Subject::pair(&pair, "lapwing");
        let mut open = Open::default();
        let mut say =
            |minute, evidence, severity| open.claim(claim(minute, evidence, severity), &subject, Vec::new);
        let first = say(10, 20.0, Severity::Low).unwrap();
        assert_eq!((first.state, first.revision, first.expected), (FindingState::Open, 1, 0.0));
        assert!(say(20, 30.0, Severity::Low).is_none(), "not twice as much");
        let grown = say(30, 45.0, Severity::Low).unwrap();
        assert_eq!((grown.state, grown.revision, &grown.id), (FindingState::Update, 2, &first.id));
        assert!(say(32, 90.0, Severity::High).is_none(), "too soon");
        assert!(say(40, 45.0, Severity::High).is_some());
        let mut out = Vec::new();
        open.close(69 * MINUTE, &mut out);
        assert!(out.is_empty() && !open.is_empty());
        open.close(70 * MINUTE, &mut out);
        assert_eq!(
            (out[0].state, out[0].revision, out[0].closed_at),
            (FindingState::Close, 4, Some(EventTime(70 * MINUTE)))
        );
        assert_eq!((&out[0].id, out[0].opened_at), (&first.id, first.opened_at));
        assert!(open.is_empty());
    }
}
