//! Findings of one cause, joined: over pairs, time and cause. And where the cause probably lies.

use std::collections::{BTreeMap, BTreeSet};

use lapwing_telemetry::{Finding, FindingKind, FindingState};
use serde::{Deserialize, Serialize};

use crate::grid::{HOUR, MINUTE};

/// A finding joins an incident within this time of its latest finding: detection of one cause is spread over the
/// horizons, of which the longest common one is an hour.
const JOIN_WITHIN: i64 = HOUR + 15 * MINUTE;
/// An incident takes no further findings after this long.
const MAX_AGE: i64 = 12 * HOUR;
/// Findings that an incident joins at most.
const MAX_MEMBERS: usize = 64;
/// Incidents that can be joined at a time; the oldest makes room.
const MAX_LIVE: usize = 256;
/// Findings whose incident is remembered until they close.
const MAX_OPEN: usize = 100_000;
/// Services named as probable origins.
const MAX_ORIGINS: usize = 3;

/// Incidents that may still grow, oldest first, and the incident of every open finding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Incidents {
    live: Vec<Incident>,
    /// Finding to incident, where they differ.
    of: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Incident {
    /// The id of its first finding.
    id: String,
    cluster: String,
    began_at: i64,
    latest_at: i64,
    members: Vec<Member>,
}

/// As much of a finding as linking and ranking need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Member {
    kind: FindingKind,
    source: String,
    /// Empty where the finding is about the source alone.
    destination: String,
}

/// What kinds of findings have in common as effects of a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The called service fails or is slow: callers see it, and their callers after them.
    Callee,
    /// The calling service sends more, less or nothing: those it calls see it, and theirs after them.
    Caller,
    /// The calling service does what it never did.
    Reach,
    /// Joins nothing.
    Alone,
}

fn cause(kind: FindingKind) -> Cause {
    match kind {
        FindingKind::LatencyShift
        | FindingKind::LatencyDrift
        | FindingKind::ErrorShift
        | FindingKind::RetryStorm => Cause::Callee,
        FindingKind::VolumeSpike | FindingKind::VolumeDrop | FindingKind::Silence => Cause::Caller,
        FindingKind::NewPair
        | FindingKind::CrossNamespace
        | FindingKind::NewOperation
        | FindingKind::Beaconing
        | FindingKind::TlsDowngrade
        | FindingKind::NewIdentity
        | FindingKind::Scan
        | FindingKind::Exfiltration
        | FindingKind::OffHours
        | FindingKind::AuthFailures
        | FindingKind::PolicyDenials
        | FindingKind::TlsFailures
        | FindingKind::Profile => Cause::Reach,
        FindingKind::Cardinality | FindingKind::RedactionLeak => Cause::Alone,
    }
}

impl Incidents {
    /// Gives a revision its incident and the incident's probable origins. Revisions come in an order that no
    /// partitioning changes.
    pub(crate) fn join(&mut self, finding: &mut Finding) {
        let at = finding.revised_at().0;
        self.live.retain(|i| at - i.latest_at <= JOIN_WITHIN && at - i.began_at <= MAX_AGE);
        match finding.state {
            FindingState::Open => self.open(finding, at),
            FindingState::Update | FindingState::Close => {
                if let Some(incident) = self.of.get(&finding.id) {
                    finding.incident.clone_from(incident);
                }
                if finding.state == FindingState::Close {
                    self.of.remove(&finding.id);
                }
            }
        }
        let incident = self.live.iter().find(|i| i.id == finding.incident);
        finding.origins = incident.map_or_else(|| alone(finding), Incident::origins);
    }

    fn open(&mut self, finding: &mut Finding, at: i64) {
        let member = Member {
            kind: finding.kind,
            source: finding.source.clone().unwrap_or_default(),
            destination: finding.destination.clone().unwrap_or_default(),
        };
        let strength = |i: &Incident| {
            let linked = i.members.iter().map(|m| m.link(&member)).max().unwrap_or(0);
            if i.cluster == finding.cluster && i.members.len() < MAX_MEMBERS { linked } else { 0 }
        };
        // The strongest link; of equals the latest incident.
        match self.live.iter_mut().filter(|i| strength(i) > 0).max_by_key(|i| (strength(i), i.latest_at)) {
            Some(incident) => {
                incident.members.push(member);
                incident.latest_at = at;
                finding.incident.clone_from(&incident.id);
                if self.of.len() < MAX_OPEN {
                    self.of.insert(finding.id.clone(), finding.incident.clone());
                }
            }
            None => {
                if self.live.len() >= MAX_LIVE {
                    self.live.remove(0);
                }
                self.live.push(Incident {
                    id: finding.id.clone(),
                    cluster: finding.cluster.clone(),
                    began_at: at,
                    latest_at: at,
                    members: vec![member],
                });
            }
        }
    }
}

impl Member {
    /// How strongly two findings speak of one cause; 0 if they do not.
    fn link(&self, other: &Member) -> u8 {
        let (one, two) = (cause(self.kind), cause(other.kind));
        if one == Cause::Alone || two == Cause::Alone {
            return 0;
        }
        let same_source = self.source == other.source;
        let same_destination = !self.destination.is_empty() && self.destination == other.destination;
        let chained = self.destination == other.source || self.source == other.destination;
        match (one, two) {
            _ if same_source && same_destination => 4,
            (Cause::Reach, Cause::Reach) if same_source => 3,
            // A destination whose callers are all refused; not one that two sources probe.
            (Cause::Reach, Cause::Reach) if same_destination && refused(self) && refused(other) => 2,
            (Cause::Callee, Cause::Callee) if same_destination => 3,
            (Cause::Callee, Cause::Callee) if chained => 2,
            (Cause::Caller, Cause::Caller) if chained || same_source => 2,
            (Cause::Caller, Cause::Callee) | (Cause::Callee, Cause::Caller) if same_destination => 1,
            _ => 0,
        }
    }
}

/// Whether a finding says that calls were refused.
fn refused(member: &Member) -> bool {
    matches!(member.kind, FindingKind::AuthFailures | FindingKind::TlsFailures | FindingKind::PolicyDenials)
}

impl Incident {
    /// The services where the cause probably lies, most probable first: each finding blames one end of its pair,
    /// but only a tenth as much if that end's own calls (its callers, for volume) show the same, because then it
    /// passes on what it suffers. The idea of following deviations along the call graph to where they end
    /// (MonitorRank: Kim, Sumbaly, Shah, SIGMETRICS 2013), without the random walk. Of equals the first named.
    fn origins(&self) -> Vec<String> {
        let mut blame: Vec<(&str, u32)> = Vec::new();
        let add = |service: &str, points: u32, blame: &mut Vec<(&str, u32)>| {
            if let Some(known) = blame.iter_mut().find(|(name, _)| *name == service) {
                known.1 += points;
            }
        };
        let ends = self.members.iter().flat_map(|m| [m.source.as_str(), m.destination.as_str()]);
        let mut seen = BTreeSet::new();
        blame.extend(ends.filter(|s| !s.is_empty() && *s != "*").filter(|s| seen.insert(*s)).map(|s| (s, 0)));
        for m in &self.members {
            let same = |other: &&Member| cause(other.kind) == cause(m.kind);
            match cause(m.kind) {
                Cause::Callee => {
                    let passed_on = self.members.iter().filter(same).any(|o| o.source == m.destination);
                    add(&m.destination, if passed_on { 1 } else { 10 }, &mut blame);
                }
                Cause::Caller => {
                    let passed_on = self.members.iter().filter(same).any(|o| o.destination == m.source);
                    add(&m.source, if passed_on { 1 } else { 10 }, &mut blame);
                    // A destination that nobody calls any more may be the one that is gone.
                    add(&m.destination, if m.kind == FindingKind::Silence { 6 } else { 0 }, &mut blame);
                }
                Cause::Reach | Cause::Alone => {
                    add(&m.source, 10, &mut blame);
                    add(&m.destination, if refused(m) { 6 } else { 0 }, &mut blame);
                }
            }
        }
        blame.sort_by_key(|(_, points)| std::cmp::Reverse(*points));
        blame.into_iter().filter(|(_, p)| *p > 0).take(MAX_ORIGINS).map(|(name, _)| name.to_owned()).collect()
    }
}

/// The origins of a finding whose incident is no longer remembered.
fn alone(finding: &Finding) -> Vec<String> {
    let member = Member {
        kind: finding.kind,
        source: finding.source.clone().unwrap_or_default(),
        destination: finding.destination.clone().unwrap_or_default(),
    };
    let incident = Incident {
        id: String::new(),
        cluster: String::new(),
        began_at: 0,
        latest_at: 0,
        members: vec![member],
    };
    incident.origins()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapwing_telemetry::{EventTime, Pair, Severity};

    fn finding(kind: FindingKind, source: &str, destination: &str, minute: i64) -> Finding {
        let pair = Pair::new("c", source, destination);
        let at = EventTime(minute * MINUTE);
        let id = Finding::make_id(kind, &pair, at);
        Finding {
            incident: id.clone(),
            id,
            revision: 1,
            state: FindingState::Open,
            kind,
            detector: "test".to_owned(),
            severity: Severity::Low,
            score: 1.0,
            confidence: 1.0,
            cluster: "c".to_owned(),
            source: Some(source.to_owned()),
            destination: (destination != "*").then(|| destination.to_owned()),
            signal: None,
            window_start: at,
            window_end: at,
            opened_at: at,
            closed_at: None,
            observed: 0.0,
            expected: 0.0,
            expected_low: None,
            expected_high: None,
            unit: String::new(),
            explanation: String::new(),
            exemplars: Vec::new(),
            origins: Vec::new(),
            made_by: String::new(),
        }
    }

    /// Joins findings; gives each one's incident by the number of its first finding, and the last one's origins.
    fn check(
        findings: &[(FindingKind, &str, &str, i64)],
        incidents: &[usize],
        origins: &[&str],
    ) -> Vec<Finding> {
        let mut all = Incidents::default();
        let mut made: Vec<Finding> = findings.iter().map(|(k, s, d, m)| finding(*k, s, d, *m)).collect();
        made.iter_mut().for_each(|f| all.join(f));
        let first = |f: &Finding| made.iter().position(|o| o.id == f.incident);
        assert_eq!(made.iter().filter_map(first).collect::<Vec<_>>(), incidents);
        assert_eq!(made.last().expect("some were given").origins, origins);
        made
    }

    #[test]
    fn an_outage_deep_in_the_mesh_is_one_incident_at_its_bottom() {
        use FindingKind::{ErrorShift, LatencyShift};
        check(
            &[
                (LatencyShift, "edge/gw", "shop/web", 0),
                (LatencyShift, "shop/web", "shop/cart", 1),
                (ErrorShift, "shop/cart", "data/db", 2),
                (ErrorShift, "user/acc", "data/db", 12),
            ],
            &[0, 0, 0, 0],
            &["data/db", "shop/web", "shop/cart"],
        );
    }

    #[test]
    fn more_load_from_outside_is_one_incident_at_its_top() {
        use FindingKind::VolumeSpike;
        check(
            &[
                (VolumeSpike, "shop/web", "shop/cart", 0),
                (VolumeSpike, "edge/gw", "shop/web", 1),
                (VolumeSpike, "shop/cart", "data/db", 10),
            ],
            &[0, 0, 0],
            &["edge/gw", "shop/web", "shop/cart"],
        );
    }

    #[test]
    fn a_scan_and_the_pairs_it_makes_are_one_incident_at_its_source() {
        use FindingKind::{NewPair, PolicyDenials, Scan};
        check(
            &[
                (NewPair, "ops/job", "shop/web", 0),
                (NewPair, "ops/job", "shop/cart", 0),
                (Scan, "ops/job", "*", 1),
                (PolicyDenials, "ops/job", "shop/cart", 9),
            ],
            &[0, 0, 0, 0],
            &["ops/job", "shop/cart"],
        );
    }

    #[test]
    fn strangers_in_place_time_or_cause_stay_apart() {
        use FindingKind::{ErrorShift, NewPair};
        check(
            &[
                (ErrorShift, "a/a", "b/b", 0),
                (ErrorShift, "c/c", "d/d", 1),
                (NewPair, "x/x", "b/b", 2),
                (ErrorShift, "a/a", "b/b", 80),
            ],
            &[0, 1, 2, 3],
            &["b/b"],
        );
    }

    #[test]
    fn later_revisions_keep_the_incident_and_what_is_remembered_is_bounded() {
        let mut all = Incidents::default();
        let mut first = finding(FindingKind::ErrorShift, "a/a", "b/b", 0);
        let mut second = finding(FindingKind::LatencyShift, "a/a", "b/b", 1);
        all.join(&mut first);
        all.join(&mut second);
        let mut close = Finding {
            revision: 2,
            state: FindingState::Close,
            incident: second.id.clone(),
            closed_at: Some(EventTime(40 * MINUTE)),
            ..second.clone()
        };
        all.join(&mut close);
        assert_eq!((&close.incident, close.incident == first.id), (&first.id, true));
        assert!(all.of.is_empty());
        for i in 0..1_000 {
            all.join(&mut finding(FindingKind::ErrorShift, &format!("s/{i}"), &format!("t/{i}"), 50));
        }
        assert_eq!(all.live.len(), MAX_LIVE);
    }
}
