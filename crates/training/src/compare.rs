//! Two sets of findings on one recording, compared: what a change of settings would do.

use std::collections::BTreeMap;

use lapwing_telemetry::{EventTime, Finding, FindingState};
use serde::Serialize;

/// What differs between the findings of A and of B.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// Findings of B that A has not.
    pub appeared: Vec<Finding>,
    /// Findings of A that B has not.
    pub vanished: Vec<Finding>,
    /// Findings of both that differ.
    pub changed: Vec<Changed>,
    /// Findings that are the same in both.
    pub unchanged: usize,
    /// The same by kind.
    pub kinds: BTreeMap<String, KindChange>,
}

/// Numbers of findings of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KindChange {
    /// In A.
    pub a: usize,
    /// In B.
    pub b: usize,
    /// In B alone.
    pub appeared: usize,
    /// In A alone.
    pub vanished: usize,
    /// In both, and not the same.
    pub changed: usize,
}

/// A finding of both, and how it differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    /// Its opening in A.
    pub a: Finding,
    /// Its opening in B. Its id is another where it opened on another window.
    pub b: Finding,
    /// What differs, in words.
    pub how: Vec<String>,
}

/// A finding from its opening to its latest revision.
struct Life<'a> {
    opened: &'a Finding,
    latest: &'a Finding,
}

impl Comparison {
    /// Compares the revisions of findings of A and of B, each in the order in which they were published.
    ///
    /// Findings are the same if their ids are. What is left of a kind on a pair is taken for the same condition, seen
    /// earlier or later, if it stood at the same time.
    pub fn of(a: &[Finding], b: &[Finding]) -> Comparison {
        let (of_a, mut of_b) = (lives(a), lives(b));
        let mut comparison = Comparison::default();
        for life in of_a.values() {
            comparison.kind(life.opened).a += 1;
        }
        for life in of_b.values() {
            comparison.kind(life.opened).b += 1;
        }
        let mut left = Vec::new();
        for (id, life) in of_a {
            match of_b.remove(id) {
                Some(other) => comparison.pair(&life, &other),
                None => left.push(life),
            }
        }
        for life in left {
            let same = of_b.iter().find(|(_, other)| life.is_condition_of(other)).map(|(id, _)| *id);
            match same.and_then(|id| of_b.remove(id)) {
                Some(other) => comparison.pair(&life, &other),
                None => {
                    comparison.kind(life.opened).vanished += 1;
                    comparison.vanished.push(life.opened.clone());
                }
            }
        }
        for life in of_b.into_values() {
            comparison.kind(life.opened).appeared += 1;
            comparison.appeared.push(life.opened.clone());
        }
        comparison.appeared.sort_by_key(|f| (f.opened_at, f.id.clone()));
        comparison.vanished.sort_by_key(|f| (f.opened_at, f.id.clone()));
        comparison.changed.sort_by_key(|c| (c.a.opened_at, c.a.id.clone()));
        comparison
    }

    /// Whether nothing differs.
    pub fn is_same(&self) -> bool {
        self.appeared.is_empty() && self.vanished.is_empty() && self.changed.is_empty()
    }

    fn kind(&mut self, finding: &Finding) -> &mut KindChange {
        self.kinds.entry(finding.kind.as_str().to_owned()).or_default()
    }

    fn pair(&mut self, a: &Life<'_>, b: &Life<'_>) {
        let mut how = Vec::new();
        if a.latest.severity != b.latest.severity {
            how.push(format!("{} instead of {}", b.latest.severity.as_str(), a.latest.severity.as_str()));
        }
        how.extend(shift("opens", Some(a.opened.opened_at), Some(b.opened.opened_at)));
        how.extend(shift("closes", a.latest.closed_at, b.latest.closed_at));
        if a.latest.revision != b.latest.revision {
            how.push(format!("{} revisions instead of {}", b.latest.revision, a.latest.revision));
        }
        if how.is_empty() {
            self.unchanged += 1;
        } else {
            self.kind(a.opened).changed += 1;
            self.changed.push(Changed { a: a.opened.clone(), b: b.opened.clone(), how });
        }
    }
}

impl Life<'_> {
    fn end(&self) -> EventTime {
        self.latest.closed_at.unwrap_or(EventTime(i64::MAX))
    }

    fn is_condition_of(&self, other: &Life<'_>) -> bool {
        let who = |f: &Finding| (f.kind, f.cluster.clone(), f.source.clone(), f.destination.clone());
        who(self.opened) == who(other.opened)
            && self.opened.window_start < other.end()
            && other.opened.window_start < self.end()
    }
}

fn lives(revisions: &[Finding]) -> BTreeMap<&str, Life<'_>> {
    let mut lives: BTreeMap<&str, Life<'_>> = BTreeMap::new();
    for revision in revisions {
        lives
            .entry(&revision.id)
            .and_modify(|life| life.latest = revision)
            .or_insert(Life { opened: revision, latest: revision });
    }
    debug_assert!(lives.values().all(|life| life.opened.state == FindingState::Open));
    lives
}

fn shift(what: &str, a: Option<EventTime>, b: Option<EventTime>) -> Option<String> {
    let words = |micros: i64| match micros / 1_000_000 {
        s if s < 120 => format!("{s} s"),
        s if s < 7_200 => format!("{} min", s / 60),
        s => format!("{} h", s / 3_600),
    };
    match (a, b) {
        (Some(a), Some(b)) if b > a => Some(format!("{what} {} later", words(b.0 - a.0))),
        (Some(a), Some(b)) if b < a => Some(format!("{what} {} earlier", words(a.0 - b.0))),
        (Some(_), None) => Some(format!("no longer {what} within the recording")),
        (None, Some(_)) => Some(format!("{what} within the recording")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn finding(destination: &str, hour: i64, severity: &str, state: &str) -> Finding {
        let pair = lapwing_telemetry::Pair::new("c", "shop/cart", destination);
        let start = EventTime(hour * HOUR);
        let id = Finding::make_id(lapwing_telemetry::FindingKind::LatencyShift, &pair, start);
        let time = |at: i64| EventTime(at).to_string();
        serde_json::from_value(serde_json::json!({
            "id": id, "revision": if state == "open" { 1 } else { 2 }, "state": state, "kind": "latency_shift",
            "detector": "latency", "severity": severity, "score": 1.0, "confidence": 1.0, "cluster": "c",
            "source": "shop/cart", "destination": destination, "signal": null,
            "window_start": time(start.0), "window_end": time(start.0 + HOUR), "opened_at": time(start.0 + HOUR),
            "closed_at": (state == "close").then(|| time(start.0 + 3 * HOUR)),
            "observed": 90.0, "expected": 20.0, "expected_low": null, "expected_high": null, "unit": "ms",
            "explanation": "", "exemplars": [], "incident": id, "made_by": "test",
        }))
        .unwrap()
    }

    #[test]
    fn findings_are_matched_by_id_and_else_by_pair_kind_and_time() {
        let life = |destination, hour, severity| {
            [finding(destination, hour, severity, "open"), finding(destination, hour, severity, "close")]
        };
        let a = [
            life("d/same", 1, "low"),
            life("d/moved", 2, "low"),
            life("d/gone", 3, "low"),
            life("d/twice", 1, "low"),
        ];
        let b = [
            life("d/same", 1, "low"),
            life("d/moved", 3, "high"),
            life("d/new", 3, "low"),
            life("d/twice", 9, "low"),
        ];
        let comparison = Comparison::of(&a.concat(), &b.concat());
        let names = |f: &[Finding]| f.iter().map(|f| f.destination.clone().unwrap()).collect::<Vec<_>>();
        assert_eq!(names(&comparison.appeared), ["d/new", "d/twice"]);
        assert_eq!(names(&comparison.vanished), ["d/twice", "d/gone"]);
        assert_eq!(comparison.unchanged, 1);
        assert_eq!(
            comparison.changed[0].how,
            ["high instead of low", "opens 60 min later", "closes 60 min later"]
        );
        let kind = comparison.kinds["latency_shift"];
        assert_eq!((kind.a, kind.b, kind.appeared, kind.vanished, kind.changed), (4, 4, 2, 2, 1));
        assert!(Comparison::of(&a.concat(), &a.concat()).is_same());
    }
}
