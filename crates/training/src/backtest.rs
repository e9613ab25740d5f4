//! Scores findings against what was really done to a mesh.
//!
//! Events are scored, not windows: an incident is detected once however long it lasts, and a finding is
//! false once however often it is revised. The rules:
//!
//! - Only findings opened in the test part are scored ([`Labels::timeline`]); without a timeline all are.
//! - An incident's **own** pairs are those it was done to and those it shows on; a certificate with a wrong
//!   name adds the pair it shows instead. Where a label names many services (`*`), the outside (`edge`) and
//!   no observed pairs, any service stands there.
//! - **Detected**: by a finding on an own pair, opened between the incident's start and its end plus a grace,
//!   on a window that ends after the start. A finding about a source alone must also fit the incident's
//!   kind. One opened earlier answers with an update, if it fits and the update's window lies inside.
//!   *Right kind* counts only findings that fit. Kinds and what they fit: [`Named`].
//! - **Late**: a fitting finding on an own pair after that, but within two hours of the end. Neither right
//!   nor wrong.
//! - **Neutral**: answers nothing, but opened on a collateral pair while the incident ran. One of mixed kind
//!   never is.
//! - Every other finding is **false**. False findings of one `incident` count once per six hours and twenty.
//! - Standing open costs: every full six hours in which nothing was the matter with a finding's pair count as
//!   one more false finding.
//! - A **hard negative** is raised by a false finding on its own pairs while it ran, if the kind can be about
//!   it. A finding raises one, the shortest.

mod family;
mod report;
mod revision;

use std::collections::BTreeMap;
use std::time::Duration;

use lapwing_telemetry::EventTime;

pub use self::family::{Family, Named};
pub use self::report::{FalseFinding, IncidentScore, KindScore, Report};
use self::revision::{Judged, canonical, gather};
pub use self::revision::{Revision, RevisionsError, load_revisions};
use crate::labels::{Incident, Labels};

/// How long after an incident's end a finding may still be opened and answer it, by default: the time that
/// slow windows and confirmation need.
pub const GRACE: Duration = Duration::from_mins(30);

/// How long after an incident a fitting finding is late rather than false.
const LATE: Duration = Duration::from_hours(2);
/// How long a finding may stand open, with nothing the matter, before it costs.
const PATIENCE: Duration = Duration::from_hours(6);
/// How long, and how many, false findings of one cause count as one.
const JOINED_FOR: Duration = Duration::from_hours(6);
const JOINED_COUNT: usize = 20;

/// Scores the revisions of findings, in the order they were published, against `labels`.
pub fn score(labels: &Labels, revisions: &[Revision], grace: Duration) -> Report {
    let incidents: Vec<_> = labels.incidents.iter().map(|label| Placed::new(label, grace)).collect();
    let (alerts, quiet): (Vec<_>, Vec<_>) =
        incidents.iter().partition(|incident| incident.label.expect_alert);
    let alerts: Vec<_> = alerts.into_iter().filter(|incident| incident.label.test).collect();
    let mut findings = gather(revisions);
    if let Some(timeline) = labels.timeline {
        let scored = timeline.test_start..=timeline.test_end.plus(grace);
        findings.retain(|finding| scored.contains(&finding.opened));
    }

    let mut report = Report::new(labels, findings.len());
    let mut answers: Vec<Vec<(EventTime, &Judged)>> = vec![Vec::new(); alerts.len()];
    let mut wrong = Vec::new();
    for finding in &findings {
        let mut answered = false;
        for (incident, answers) in alerts.iter().zip(&mut answers) {
            if let Some(at) = incident.answered_by(finding) {
                answered = true;
                answers.push((at, finding));
            }
        }
        report.false_by_standing_open += (idle(finding, &alerts).as_secs() / PATIENCE.as_secs()) as usize;
        if answered {
        } else if alerts.iter().any(|incident| incident.answered_late_by(finding)) {
            report.late += 1;
        } else if finding.named != Named::Mixed && alerts.iter().any(|incident| incident.beside(finding)) {
            report.neutral += 1;
        } else {
            wrong.push(finding);
        }
    }
    for (incident, answers) in alerts.iter().zip(&answers) {
        report.add_incident(incident.label, answers);
    }
    report.false_findings = joined(&wrong) + report.false_by_standing_open;
    for finding in wrong {
        report.add_false(finding, raised(finding, &quiet));
    }
    report.conclude(quiet.len());
    report
}

/// An incident with the pairs it is to be looked for on.
struct Placed<'a> {
    label: &'a Incident,
    grace: Duration,
    own: Vec<PairPattern>,
    /// The own pairs and the collateral ones.
    near: Vec<PairPattern>,
}

/// A pair; `None` stands for any service.
#[derive(Clone, PartialEq, Eq)]
struct PairPattern {
    source: Option<String>,
    destination: Option<String>,
}

impl PairPattern {
    fn exactly(pair: &(String, String)) -> PairPattern {
        PairPattern { source: Some(pair.0.clone()), destination: Some(pair.1.clone()) }
    }

    fn matches(&self, source: Option<&str>, destination: &str) -> bool {
        (self.source.is_none() || self.source.as_deref() == source)
            && self.destination.as_deref().is_none_or(|own| own == destination)
    }
}

impl<'a> Placed<'a> {
    fn new(label: &'a Incident, grace: Duration) -> Placed<'a> {
        let mut own: Vec<_> = label.observed_pairs.iter().flatten().map(PairPattern::exactly).collect();
        if label.observed_pairs.is_none() {
            // The label says only what was done: the calls of `edge` leave no record until they are inside.
            let named = |name: &String, any: &[&str]| (!any.contains(&name.as_str())).then(|| name.clone());
            own.push(PairPattern {
                source: named(&label.source, &["*", "edge"]),
                destination: named(&label.destination, &["*"]),
            });
        } else if label.source != "*" && label.destination != "*" {
            own.push(PairPattern::exactly(&(label.source.clone(), label.destination.clone())));
        }
        let shown = label.presented_identity.as_deref().filter(|identity| identity.starts_with("spiffe://"));
        if let (Some(identity), Some("wrong_san")) = (shown, label.variant.as_deref()) {
            own.push(PairPattern {
                source: canonical(identity),
                destination: Some(label.destination.clone()),
            });
        }
        let near =
            own.iter().cloned().chain(label.collateral_pairs.iter().map(PairPattern::exactly)).collect();
        Placed { label, grace, own, near }
    }

    /// When `finding` answers this incident; `None` if it does not.
    fn answered_by(&self, finding: &Judged) -> Option<EventTime> {
        if finding.named == Named::Mixed || !self.is_on(finding, &self.own, true) {
            return None;
        }
        let fits = self.fits(finding);
        for &(start, end) in &self.label.occurrences {
            let until = end.plus(self.grace);
            if self.opened_in(finding, start, end) && (finding.destination.is_some() || fits) {
                return Some(finding.opened);
            }
            if finding.opened <= until && fits {
                // Opened before: only what it saw inside counts.
                let seen = finding.windows.iter().filter(|(from, to)| *from >= start && *to <= until);
                if let Some(at) = seen.map(|(_, to)| *to).min() {
                    return Some(at);
                }
            }
        }
        None
    }

    fn answered_late_by(&self, finding: &Judged) -> bool {
        let late = |end: EventTime| end.plus(self.grace) < finding.opened && finding.opened <= end.plus(LATE);
        self.fits(finding)
            && self.is_on(finding, &self.own, true)
            && self.label.occurrences.iter().any(|(_, end)| late(*end))
    }

    /// Whether `finding` was opened while this ran, on a pair that this moves.
    fn beside(&self, finding: &Judged) -> bool {
        self.is_on(finding, &self.near, false)
            && (finding.destination.is_some() || self.fits(finding))
            && self.label.occurrences.iter().any(|(start, end)| self.opened_in(finding, *start, *end))
    }

    fn opened_in(&self, finding: &Judged, start: EventTime, end: EventTime) -> bool {
        start <= finding.opened && finding.opened <= end.plus(self.grace) && finding.first_window_end > start
    }

    fn fits(&self, finding: &Judged) -> bool {
        finding.named.fits(&self.label.kind)
    }

    /// Whether `finding` lies on one of `pairs`; one about a source alone, whether one of them is its
    /// source's, or the incident itself is, if `label_source` counts.
    fn is_on(&self, finding: &Judged, pairs: &[PairPattern], label_source: bool) -> bool {
        let source = finding.source.as_deref();
        match finding.destination.as_deref() {
            Some(destination) => pairs.iter().any(|pair| pair.matches(source, destination)),
            None => {
                (label_source && source == Some(&self.label.source))
                    || pairs.iter().any(|pair| pair.source.is_some() && pair.source.as_deref() == source)
            }
        }
    }
}

/// How long a finding stood open with nothing the matter on its pair, nor within [`LATE`] before.
fn idle(finding: &Judged, alerts: &[&Placed<'_>]) -> Duration {
    let mut covered: Vec<_> = alerts
        .iter()
        .filter(|incident| incident.is_on(finding, &incident.near, true))
        .flat_map(|incident| &incident.label.occurrences)
        .map(|(start, end)| (*start, end.plus(LATE)))
        .collect();
    covered.sort_unstable();
    let (mut at, mut idle) = (finding.opened, Duration::ZERO);
    for (start, end) in covered {
        idle += start.min(finding.last).since(at);
        at = at.max(end);
    }
    idle + finding.last.since(at)
}

/// How many false findings there are once those of one cause are joined.
fn joined(wrong: &[&Judged]) -> usize {
    let mut causes: BTreeMap<&str, Vec<EventTime>> = BTreeMap::new();
    for finding in wrong {
        causes.entry(&finding.incident).or_default().push(finding.opened);
    }
    let mut count = 0;
    for opened in causes.values_mut() {
        opened.sort_unstable();
        let mut rest = opened.as_slice();
        while let Some(first) = rest.first() {
            count += 1;
            let within =
                rest.iter().take(JOINED_COUNT).take_while(|at| at.since(*first) <= JOINED_FOR).count();
            rest = &rest[within..];
        }
    }
    count
}

/// The hard negative that a false finding raised: of those that ran on its pair, the shortest.
fn raised<'a>(finding: &Judged, quiet: &[&Placed<'a>]) -> Option<&'a str> {
    let mut candidates = Vec::new();
    for negative in quiet {
        if !negative.is_on(finding, &negative.own, false)
            || !finding.named.can_be_raised_by(&negative.label.kind)
        {
            continue;
        }
        for (start, end) in &negative.label.occurrences {
            if *start <= finding.opened && finding.opened <= end.plus(negative.grace) {
                candidates.push((end.since(*start), negative.label.id.as_str()));
            }
        }
    }
    candidates.into_iter().min().map(|(_, id)| id)
}
