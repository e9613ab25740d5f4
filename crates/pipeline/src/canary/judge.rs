//! What is known of the canaries under way, and what follows from what came of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use lapwing_telemetry::{CANARY_CLUSTER, EventTime, Finding, FindingKind, FindingState, Pair, Severity};
use tokio::sync::watch;

use super::tap::Known;
use super::{CanaryRequests, CanarySettings, Planted, planted, requests};
use crate::health::CanarySnapshot;

/// Canaries that are remembered: files of the archive close later than the next canary leaves.
const REMEMBERED: usize = 16;

pub(super) struct Judge {
    settings: CanarySettings,
    seed: u64,
    made_by: String,
    archived: bool,
    known: watch::Sender<Arc<Known>>,
    under_way: VecDeque<Sent>,
    last: Option<EventTime>,
    /// Findings that are open, by the place of the leak.
    open: BTreeMap<&'static str, Finding>,
    pub(super) snapshot: CanarySnapshot,
}

struct Sent {
    trace: [u8; 16],
    at: EventTime,
    planted: Vec<Planted>,
    journal: bool,
    archive: bool,
    missing: bool,
}

impl Judge {
    pub(super) fn new(
        settings: CanarySettings,
        seed: u64,
        made_by: String,
        archived: bool,
        known: watch::Sender<Arc<Known>>,
    ) -> Judge {
        Judge {
            settings,
            seed,
            made_by,
            archived,
            known,
            under_way: VecDeque::new(),
            last: None,
            open: BTreeMap::new(),
            snapshot: CanarySnapshot::default(),
        }
    }

    pub(super) fn known(&self) -> Arc<Known> {
        self.known.borrow().clone()
    }

    pub(super) fn is_due(&self, now: EventTime) -> bool {
        self.last.is_none_or(|last| now.since(last) >= self.settings.interval)
    }

    /// Makes the next canary, whose values are looked for from now on.
    pub(super) fn next(&mut self, now: EventTime) -> CanaryRequests {
        self.last = Some(now);
        self.snapshot.sent += 1;
        // Another seed each time; the trace tells canaries apart, in this run and from those of earlier ones.
        let seed = self.seed.wrapping_add(self.snapshot.sent.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let mut planted = planted(seed);
        planted.retain(|p| !self.settings.except.iter().any(|kind| kind == p.kind));
        let mut trace = [0xca; 16];
        trace[..8].copy_from_slice(&seed.to_be_bytes());
        trace[8..].copy_from_slice(&now.0.to_be_bytes());
        let requests = requests(&planted, trace, now);
        if self.under_way.len() == REMEMBERED {
            self.under_way.pop_front();
        }
        self.under_way.push_back(Sent {
            trace,
            at: now,
            planted,
            journal: false,
            archive: false,
            missing: false,
        });
        self.known.send_replace(Arc::new(Known::of(self.under_way.iter().flat_map(|s| &s.planted))));
        requests
    }

    /// Notes canaries that should have come out of the journal by now.
    pub(super) fn overdue(&mut self, now: EventTime) {
        for sent in &mut self.under_way {
            if !sent.journal && !sent.missing && now.since(sent.at) > self.settings.deadline {
                sent.missing = true;
                self.snapshot.missing += 1;
                tracing::error!(
                    sent_at = %sent.at,
                    "a redaction canary did not come back in time; redaction is not proven since"
                );
            }
        }
        let last = self.under_way.iter().rev().find(|sent| sent.missing || sent.journal);
        self.snapshot.overdue = last.is_some_and(|sent| !sent.journal);
    }

    pub(super) fn journal(
        &mut self,
        traces: &BTreeSet<[u8; 16]>,
        kinds: &BTreeSet<&'static str>,
        now: EventTime,
    ) -> Vec<Finding> {
        let back = self.note(traces, |sent| &mut sent.journal);
        self.came_back("journal", back, kinds, now)
    }

    pub(super) fn archive(
        &mut self,
        traces: &BTreeSet<[u8; 16]>,
        kinds: &BTreeSet<&'static str>,
        now: EventTime,
    ) -> Vec<Finding> {
        let back = self.note(traces, |sent| &mut sent.archive);
        self.came_back("archive", back, kinds, now)
    }

    pub(super) fn findings(&mut self, kinds: &BTreeSet<&'static str>, now: EventTime) -> Vec<Finding> {
        self.leaked("findings", kinds, now)
    }

    /// Looks for values on the page of metrics.
    pub(super) fn page(&mut self, page: &str, now: EventTime) -> Vec<Finding> {
        let mut kinds = BTreeSet::new();
        self.known().search(page.as_bytes(), true, &mut kinds);
        if kinds.is_empty() { Vec::new() } else { self.leaked("metrics", &kinds, now) }
    }

    /// Marks what came back; says whether any of it had not been marked before.
    fn note(&mut self, traces: &BTreeSet<[u8; 16]>, mark: impl Fn(&mut Sent) -> &mut bool) -> bool {
        let mut is_new = false;
        for sent in self.under_way.iter_mut().filter(|sent| traces.contains(&sent.trace)) {
            is_new |= !std::mem::replace(mark(sent), true);
        }
        is_new
    }

    fn came_back(
        &mut self,
        place: &'static str,
        back: bool,
        kinds: &BTreeSet<&'static str>,
        now: EventTime,
    ) -> Vec<Finding> {
        if back {
            *self.snapshot.checked.entry(place).or_default() += 1;
        }
        if !kinds.is_empty() {
            return self.leaked(place, kinds, now);
        }
        if !back {
            return Vec::new(); // Of an earlier run: its values are not known any more.
        }
        // The whole road is proven where calls come to rest.
        if place == if self.archived { "archive" } else { "journal" } {
            self.snapshot.last_success = Some(now);
        }
        self.closed(place, now)
    }

    fn leaked(
        &mut self,
        place: &'static str,
        kinds: &BTreeSet<&'static str>,
        now: EventTime,
    ) -> Vec<Finding> {
        for kind in kinds {
            *self.snapshot.leaked.entry((place, kind)).or_default() += 1;
        }
        let names = kinds.iter().copied().collect::<Vec<_>>().join(", ");
        tracing::error!(place, kinds = names, "redaction leaks: values of a canary can be read");
        let explanation = format!(
            "Redaction leaks: of the made-up values of a canary, {} could be read in the {place} ({names}). Real values of these kinds are being stored or sent.",
            kinds.len()
        );
        let finding = match self.open.remove(place) {
            Some(open) => Finding {
                revision: open.revision + 1,
                state: FindingState::Update,
                window_end: now.max(open.window_start),
                observed: kinds.len() as f64,
                explanation,
                ..open
            },
            None => self.opened(place, kinds.len(), explanation, now),
        };
        self.open.insert(place, finding.clone());
        self.snapshot.leaking = self.open.keys().copied().collect();
        vec![finding]
    }

    fn opened(&self, place: &str, kinds: usize, explanation: String, now: EventTime) -> Finding {
        let pair = Pair::new(CANARY_CLUSTER, "lapwing/canary", &format!("lapwing/{place}"));
        let id = Finding::make_id(FindingKind::RedactionLeak, &pair, now);
        Finding {
            incident: id.clone(),
            id,
            revision: 1,
            state: FindingState::Open,
            kind: FindingKind::RedactionLeak,
            detector: "canary".into(),
            severity: Severity::Critical,
            score: 1.0,
            confidence: 1.0,
            cluster: pair.cluster.to_string(),
            source: Some(pair.source.to_string()),
            destination: Some(pair.destination.to_string()),
            signal: None,
            window_start: now,
            window_end: now,
            opened_at: now,
            closed_at: None,
            observed: kinds as f64,
            expected: 0.0,
            expected_low: None,
            expected_high: Some(0.0),
            unit: "kinds of values".into(),
            explanation,
            exemplars: Vec::new(),
            origins: Vec::new(),
            made_by: self.made_by.clone(),
        }
    }

    fn closed(&mut self, place: &'static str, now: EventTime) -> Vec<Finding> {
        let Some(open) = self.open.remove(place) else { return Vec::new() };
        self.snapshot.leaking = self.open.keys().copied().collect();
        let end = now.max(open.window_start);
        vec![Finding {
            revision: open.revision + 1,
            state: FindingState::Close,
            window_end: end,
            closed_at: Some(end),
            observed: 0.0,
            explanation: format!("A later canary came through the {place} without a value that can be read."),
            ..open
        }]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn judge() -> Judge {
        let settings = CanarySettings {
            interval: Duration::from_secs(3_600),
            deadline: Duration::from_secs(300),
            except: vec!["username".into()],
            seed: Some(1),
        };
        let known = watch::Sender::new(Arc::new(Known::of(std::iter::empty())));
        Judge::new(settings, 1, "test".into(), false, known)
    }

    fn at(seconds: i64) -> EventTime {
        EventTime(1_795_312_800_000_000 + seconds * 1_000_000)
    }

    #[test]
    fn a_canary_leaves_every_interval_and_is_missed_after_the_deadline() {
        let mut judge = judge();
        assert!(judge.is_due(at(0)));
        assert_eq!(judge.next(at(0)).len(), 2);
        assert!(!judge.is_due(at(3_599)) && judge.is_due(at(3_600)));
        assert!(judge.under_way[0].planted.iter().all(|p| p.kind != "username"));
        judge.overdue(at(300));
        assert_eq!((judge.snapshot.missing, judge.snapshot.overdue), (0, false));
        judge.overdue(at(301));
        judge.overdue(at(302));
        assert_eq!((judge.snapshot.missing, judge.snapshot.overdue), (1, true));
        let trace = BTreeSet::from([judge.under_way[0].trace]);
        assert!(judge.journal(&trace, &BTreeSet::new(), at(400)).is_empty());
        judge.overdue(at(401));
        assert_eq!((judge.snapshot.overdue, judge.snapshot.last_success), (false, Some(at(400))));
    }

    #[test]
    fn a_leak_opens_goes_on_and_closes_in_one_finding() {
        let mut judge = judge();
        let mut revisions = Vec::new();
        for (hour, kinds) in [(0, vec!["email"]), (1, vec!["card", "email"]), (2, vec![])] {
            judge.next(at(hour * 3_600));
            let trace = BTreeSet::from([judge.under_way.back().unwrap().trace]);
            revisions.extend(judge.journal(&trace, &kinds.into_iter().collect(), at(hour * 3_600 + 1)));
        }
        assert!(revisions.iter().all(|f| f.id == revisions[0].id && f.severity == Severity::Critical));
        let states: Vec<_> = revisions.iter().map(|f| (f.revision, f.state, f.observed)).collect();
        let expected =
            [(1, FindingState::Open, 1.0), (2, FindingState::Update, 2.0), (3, FindingState::Close, 0.0)];
        assert_eq!(states, expected);
        assert!(revisions[1].explanation.contains("card, email"));
    }

    #[test]
    fn values_on_the_page_of_metrics_are_found_and_short_ones_are_not_mistaken() {
        let mut judge = judge();
        judge.next(at(0));
        let of = |kind| judge.under_way[0].planted.iter().find(|p| p.kind == kind).unwrap().value.clone();
        let (email, postcode) = (of("email"), of("postcode"));
        assert!(judge.page(&format!("x {postcode} y"), at(1)).is_empty());
        assert_eq!(judge.page(&format!("x {} y", email.to_uppercase()), at(1)).len(), 1);
    }
}
