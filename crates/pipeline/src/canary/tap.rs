//! Looks for canary values where calls and findings pass, and tells the judge.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder};
use lapwing_telemetry::{Calls, Finding};
use tokio::sync::{mpsc, watch};

use super::{Planted, percent};

/// A value shorter than this may stand in a text by chance, so it is looked for in canaries alone.
const TELLING_BYTES: usize = 12;

/// What the judge knows of the canaries that are under way, as one search.
pub(super) struct Known {
    search: AhoCorasick,
    /// For each pattern the kind of value, and whether it is long enough to be looked for in any text.
    patterns: Vec<(&'static str, bool)>,
}

impl Known {
    /// Builds the search for values and their usual spellings, in any case.
    pub(super) fn of<'a>(planted: impl Iterator<Item = &'a Planted>) -> Known {
        let (mut texts, mut patterns) = (Vec::new(), Vec::new());
        for p in planted {
            for text in BTreeSet::from([p.secret.clone(), percent(&p.secret), p.secret.replace(' ', "")]) {
                patterns.push((p.kind, text.len() >= TELLING_BYTES));
                texts.push(text);
            }
        }
        let search = AhoCorasickBuilder::new().ascii_case_insensitive(true).build(&texts);
        Known { search: search.expect("a few hundred short patterns fit"), patterns }
    }

    pub(super) fn search(&self, bytes: &[u8], any_text: bool, kinds: &mut BTreeSet<&'static str>) {
        for hit in self.search.find_overlapping_iter(bytes) {
            let (kind, telling) = self.patterns[hit.pattern().as_usize()];
            if telling || !any_text {
                kinds.insert(kind);
            }
        }
    }
}

/// What a tap saw.
pub(super) enum Report {
    /// Canaries came out of the journal, by trace, with the kinds of values that could be read in them.
    Journal(BTreeSet<[u8; 16]>, BTreeSet<&'static str>),
    /// These files of the archive hold canaries.
    Archived(Vec<PathBuf>),
    /// These kinds of values stood in findings.
    Findings(BTreeSet<&'static str>),
}

/// A place where calls or findings pass. Never waits: a report that finds no room is lost, and the canary
/// counts as missing.
#[derive(Clone)]
pub struct Tap {
    pub(super) known: watch::Receiver<Arc<Known>>,
    pub(super) reports: mpsc::Sender<Report>,
}

impl Tap {
    /// Looks at a frame that came out of the journal.
    pub fn journal(&self, calls: &Calls) {
        if !calls.has_canaries() {
            return;
        }
        let (known, mut kinds) = (self.known.borrow().clone(), BTreeSet::new());
        // A frame holds canaries or real calls, never both, so all its memory is theirs.
        calls.memory(|bytes| known.search(bytes, false, &mut kinds));
        self.report(Report::Journal(traces(calls), kinds));
    }

    /// Says that files with canaries are closed.
    pub fn archived(&self, files: Vec<PathBuf>) {
        self.report(Report::Archived(files));
    }

    /// Looks at findings before they are sent.
    pub fn findings(&self, findings: &[Finding]) {
        let (known, mut kinds) = (self.known.borrow().clone(), BTreeSet::new());
        for finding in findings {
            let text = serde_json::to_string(finding).unwrap_or_default();
            known.search(text.as_bytes(), true, &mut kinds);
        }
        if !kinds.is_empty() {
            self.report(Report::Findings(kinds));
        }
    }

    fn report(&self, report: Report) {
        if self.reports.try_send(report).is_err() {
            tracing::warn!("a canary's report found no room");
        }
    }
}

/// The traces of calls that are canaries.
pub(super) fn traces(calls: &Calls) -> BTreeSet<[u8; 16]> {
    let canaries = calls.canaries();
    let traces = canaries.columns().trace_id();
    let trace = |row| traces.value(row).try_into().ok();
    (0..canaries.len()).filter_map(trace).collect()
}
