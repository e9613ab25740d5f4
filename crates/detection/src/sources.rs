//! What is known of calling services as a whole: whom they reached out to of late, and which identities the
//! mesh has seen. The second step of judging, which reads what pairs tell it and never a call.

use std::collections::BTreeMap;
use std::sync::Arc;

use lapwing_telemetry::{Exemplar, FindingKind, Pair};
use serde::{Deserialize, Serialize};

use crate::baseline::{Failures, decide};
use crate::contact::Contact;
use crate::engine::{Output, publish};
use crate::grid::{DAY, Grid, HOUR, HOURS, MINUTE, MINUTES};
use crate::lifecycle::{Open, Subject};
use crate::sensitivity::factor;
use crate::{EngineStats, Sensitivity, detectors};

/// Destinations remembered per source; further ones take the place of the oldest.
const MAX_PROBES: usize = 64;
/// Examples kept per source.
const MAX_EXEMPLARS: usize = 5;
/// Sources remembered; beyond, the one that has been silent for longest makes room.
const MAX_SOURCES: usize = 20_000;
/// Identities remembered over the whole mesh, after which none is new any more.
const MAX_IDENTITIES: usize = 20_000;

/// All sources, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sources {
    sources: BTreeMap<Name, SourceState>,
    /// Hashes of the identities that any pair has shown, ascending.
    identities: Vec<u64>,
    /// When the last of them was new.
    newest_identity_at: i64,
}

/// Cluster and service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Name(Arc<str>, Arc<str>);

/// What is known of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SourceState {
    /// Start of the first window in which it called anybody.
    pub(crate) first_seen: i64,
    last_seen: i64,
    /// Its latest contacts with destinations that it hardly ever calls, or that denied it; one per destination.
    pub(crate) probes: Vec<Probe>,
    /// Such destinations per hour.
    pub(crate) usual: Failures,
    /// Whether it was found to scan in this hour.
    unusual: bool,
    /// End of the last window that showed a scan: what that one rested on is no evidence of another.
    pub(crate) reported_until: i64,
    open: Open,
}

/// A destination that a source hardly ever calls, or that denied it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Probe {
    pub(crate) destination: Arc<str>,
    /// Start of the latest such window.
    pub(crate) at: i64,
    /// Whether the pair was strange in it, and not only denied.
    pub(crate) strange: bool,
    pub(crate) denied: bool,
    exemplar: Option<Exemplar>,
}

/// What a boundary is judged with.
pub(crate) struct Moment<'a> {
    pub(crate) grid: &'a Grid,
    pub(crate) end: i64,
    /// Whether findings are reported yet.
    pub(crate) reports: bool,
    /// How long the log has been watched, in hours.
    pub(crate) watched_hours: f64,
    /// The probability below which one of a source's hourly tests is unusual.
    pub(crate) tail: f64,
    pub(crate) sensitivity: &'a [Sensitivity],
    pub(crate) made_by: &'a str,
}

impl Sources {
    /// Sources known.
    pub(crate) fn len(&self) -> usize {
        self.sources.len()
    }

    /// Takes in what the pairs told of the base windows that end at a boundary, in order of their names, and judges.
    pub(crate) fn close(
        &mut self,
        contacts: Vec<Contact>,
        now: &Moment<'_>,
        stats: &mut EngineStats,
        out: &mut Output,
    ) {
        for contact in contacts {
            self.identity(&contact, now, stats, out);
            let name = Name(contact.pair.cluster.clone(), contact.pair.source.clone());
            let source = self.sources.entry(name).or_insert_with(|| SourceState::new(contact.start));
            source.last_seen = contact.start;
            if now.reports && (contact.strange || contact.denied > 0) {
                source.probe(contact.clone());
                source.judge(&contact.pair, now, stats, out);
            }
        }
        if now.grid.ends(MINUTES, now.end) {
            for source in self.sources.values_mut() {
                source.open.close(now.end, &mut out.findings);
            }
        }
        if now.grid.ends(HOURS, now.end) {
            self.sources.values_mut().for_each(|source| source.learn(now));
            self.sources.retain(|_, s| now.end - s.last_seen < 30 * DAY || !s.open.is_empty());
        }
        while self.sources.len() > MAX_SOURCES {
            let oldest = self.sources.iter().min_by_key(|(_, s)| s.last_seen).map(|(name, _)| name.clone());
            self.sources.retain(|name, _| Some(name) != oldest.as_ref());
        }
    }

    /// Learns the identities of a contact; claims those that nobody in the mesh has shown.
    fn identity(&mut self, contact: &Contact, now: &Moment<'_>, stats: &mut EngineStats, out: &mut Output) {
        for identity in &contact.identities {
            let Err(at) = self.identities.binary_search(identity) else { continue };
            if self.identities.len() >= MAX_IDENTITIES {
                return;
            }
            let quiet_hours = (contact.start - self.newest_identity_at) as f64 / HOUR as f64;
            let known = self.identities.len();
            self.identities.insert(at, *identity);
            self.newest_identity_at = contact.start;
            if now.reports
                && factor(
                    now.sensitivity,
                    FindingKind::NewIdentity,
                    &contact.pair.source,
                    &contact.pair.destination,
                ) > 0.0
                && let Some(claim) = detectors::identity::judge(contact, now, known, quiet_hours)
            {
                // A life of its own: the source is as new as its identity, so nothing is open there yet.
                let name = Name(contact.pair.cluster.clone(), contact.pair.source.clone());
                let source = self.sources.entry(name).or_insert_with(|| SourceState::new(contact.start));
                let subject = Subject::pair(&contact.pair, now.made_by);
                let shown = || contact.exemplar.iter().cloned().collect();
                publish(source.open.claim(claim, &subject, shown), stats, &mut out.findings);
            }
        }
    }
}

impl Probe {
    #[cfg(test)]
    pub(crate) fn new(destination: &str, at: i64, strange: bool, denied: bool) -> Probe {
        Probe { destination: destination.into(), at, strange, denied, exemplar: None }
    }
}

impl SourceState {
    pub(crate) fn new(first_seen: i64) -> SourceState {
        SourceState {
            first_seen,
            last_seen: first_seen,
            probes: Vec::new(),
            usual: Failures::default(),
            unusual: false,
            reported_until: i64::MIN,
            open: Open::default(),
        }
    }

    fn probe(&mut self, contact: Contact) {
        let Contact { pair, start, strange, denied, mut exemplar, .. } = contact;
        let examples = self.probes.iter().filter(|p| p.exemplar.is_some()).count();
        let place = self.probes.iter().position(|p| p.destination == pair.destination);
        let (mut strange, mut denied) = (strange, denied > 0);
        if let Some(place) = place {
            let old = self.probes.remove(place);
            if start - old.at < HOUR {
                (strange, denied) = (strange || old.strange, denied || old.denied);
            }
            exemplar = exemplar.or(old.exemplar);
        } else if examples >= MAX_EXEMPLARS {
            exemplar = None;
        }
        self.probes.push(Probe { destination: pair.destination, at: start, strange, denied, exemplar });
        if self.probes.len() > MAX_PROBES {
            self.probes.remove(0);
        }
    }

    /// From when on probes are evidence, for a horizon that begins at `start`.
    pub(crate) fn evidence_from(&self, start: i64) -> i64 {
        if self.open.has(FindingKind::Scan) { start } else { start.max(self.reported_until) }
    }

    fn judge(&mut self, pair: &Pair, now: &Moment<'_>, stats: &mut EngineStats, out: &mut Output) {
        let factor = factor(now.sensitivity, FindingKind::Scan, &pair.source, "*");
        let Some(claim) = detectors::scan::judge(self, &pair.source, now, now.tail * factor) else { return };
        self.unusual = true;
        self.reported_until = claim.end;
        let about = Pair { destination: "*".into(), ..pair.clone() };
        let subject =
            Subject { pair: &about, source: Some(&pair.source), destination: None, made_by: now.made_by };
        let (from, to) = (claim.start, claim.end);
        let probes = &self.probes;
        let shown = || {
            let within = probes.iter().filter(|p| (from..to).contains(&p.at));
            within.filter_map(|p| p.exemplar.clone()).take(MAX_EXEMPLARS).collect()
        };
        publish(self.open.claim(claim, &subject, shown), stats, &mut out.findings);
    }

    /// Learns the hour that ends, and drops what no horizon sees any more.
    fn learn(&mut self, now: &Moment<'_>) {
        let start = now.end - now.grid.lengths[HOURS];
        let n = self.probes.iter().filter(|p| p.at >= start).count() as u64;
        let how = decide(std::mem::take(&mut self.unusual), &mut self.usual.kept_out);
        if now.reports {
            self.usual.learn(n, 0, how);
        }
        self.probes.retain(|p| now.end - p.at < DAY + 10 * MINUTE);
    }
}
