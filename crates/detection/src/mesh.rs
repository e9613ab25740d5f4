//! All partitions of a log, judged in step: what pairs tell is put together for sources and for incidents.
//!
//! Engines count frames as they come and close nothing by themselves. When every partition is known to be
//! complete up to a moment, all close the same boundaries one after the other, and after each boundary sources
//! are judged and findings are joined to incidents. So partitioning changes no finding, and nothing is held back
//! but calls in windows that are not over.

use std::collections::BTreeMap;
use std::sync::Arc;

use lapwing_telemetry::{Calls, EventTime, Finding, Offset, Partition, Position};

use crate::engine::{Engine, FeatureRow, Output};
use crate::grid::{BASE, Grid, HOUR, HOURS, LEVELS, micros};
use crate::incidents::Incidents;
use crate::scores::Calibration;
use crate::shared::Shared;
use crate::sources::{Moment, Sources};
use crate::watch::Watching;
use crate::{EngineStats, Marks, Model, PairSummary, Reading, Settings, Watch};

/// Calls in a chain that errors of an update are followed through.
const MAX_HOPS: usize = 8;

/// The engines of all partitions, and the judgement over all of them.
pub struct Mesh {
    pub(crate) settings: Arc<Settings>,
    pub(crate) grid: Grid,
    made_by: String,
    pub(crate) engines: Vec<Engine>,
    pub(crate) sources: Sources,
    pub(crate) incidents: Incidents,
    pub(crate) shared: Shared,
    pub(crate) began_at: Option<i64>,
    /// The end of the base windows that close next.
    pub(crate) boundary: i64,
    /// Pairs that share the budget of false findings, as of the last hour.
    pub(crate) sharers: u64,
    pub(crate) round: Round,
    /// Of findings that no engine made.
    stats: EngineStats,
}

/// Where in a round of frames the log is. A round is one gathering: a frame, or several, of each partition in
/// ascending order, so that a partition not above the last one begins another round, whose calls arrived no
/// earlier than any of the round before.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Round {
    partition: u16,
    /// The latest arrival of any round.
    latest: i64,
    /// Every call that arrived before has been seen.
    complete: i64,
}

impl Mesh {
    /// Makes a mesh that has seen nothing. Without a model, no `profile` finding is made.
    pub fn new(partitions: u16, settings: Arc<Settings>, model: Option<&Arc<Model>>) -> Mesh {
        let engine = |_| Engine::new(settings.clone(), model.cloned());
        Mesh {
            grid: Grid::new(&settings),
            made_by: settings.made_by(),
            engines: (0..partitions.max(1)).map(engine).collect(),
            sources: Sources::default(),
            incidents: Incidents::default(),
            shared: Shared::default(),
            began_at: None,
            boundary: 0,
            sharers: 1,
            round: Round::default(),
            stats: EngineStats::default(),
            settings,
        }
    }

    /// Counts the calls of a frame, and closes the windows that the log is now complete for. Frames come in the
    /// order of the log; one that the state includes already is skipped.
    pub fn observe(&mut self, position: Position, calls: &Calls, out: &mut Vec<Finding>) {
        let arrivals = calls.columns();
        let arrivals = arrivals.received_at();
        let (Some(&first), Some(&last)) = (arrivals.first(), arrivals.last()) else { return };
        self.begin(first);
        let Partition(partition) = position.partition;
        let n = self.engines.len();
        if partition <= self.round.partition {
            self.round.complete = self.round.latest;
            self.advance_to(self.round.complete, out);
        }
        self.engines[usize::from(partition) % n].observe(position, calls);
        self.round.partition = partition;
        self.round.latest = self.round.latest.max(last);
        if usize::from(partition) + 1 >= n {
            // Nothing can follow in this round but more of this partition.
            self.round.complete = self.round.latest;
            self.advance_to(self.round.complete, out);
        }
    }

    /// Says that no call with an arrival before `up_to` will come in any partition, so that windows close
    /// without calls, too.
    pub fn advance(&mut self, up_to: EventTime, out: &mut Vec<Finding>) {
        if self.began_at.is_some() {
            self.round.latest = self.round.latest.max(up_to.0);
            self.round.complete = self.round.complete.max(up_to.0);
            self.advance_to(self.round.complete, out);
        }
    }

    /// The end of a recording: closes every window that the last arrival completes. Findings that are open
    /// stay so, because nothing says that their conditions are over.
    pub fn finish(&mut self, out: &mut Vec<Finding>) {
        self.advance(EventTime(self.round.latest), out);
    }

    /// Hands out the features of the windows closed since the last time; none unless
    /// [`Settings::collect_features`] is set.
    pub fn take_features(&mut self) -> Vec<FeatureRow> {
        self.engines.iter_mut().flat_map(Engine::take_features).collect()
    }

    /// Judges by these marks from now on; when each counts is for event time to say.
    pub fn mark(&mut self, marks: &Marks) {
        self.engines.iter_mut().for_each(|engine| engine.marks = marks.clone());
    }

    /// Says which offset of a log the state includes, after it has learned from another.
    pub fn go_on_after(&mut self, offset: Option<Offset>) {
        self.engines.iter_mut().for_each(|engine| engine.included = offset);
    }

    /// Writes down the windows of some pairs from now on, see [`Mesh::take_readings`].
    pub fn watch(&mut self, watch: &Watch) {
        self.engines.iter_mut().for_each(|engine| engine.watching = Some(Watching::new(watch.clone())));
    }

    /// Hands out what was written down since the last time, in order of time within a partition.
    pub fn take_readings(&mut self) -> Vec<Reading> {
        let watching = self.engines.iter_mut().filter_map(|engine| engine.watching.as_mut());
        watching.flat_map(Watching::take).collect()
    }

    /// What was learned of every pair, in order of their names.
    pub fn pairs(&self) -> Vec<PairSummary> {
        let mut pairs: Vec<PairSummary> = self.engines.iter().flat_map(Engine::pairs).collect();
        pairs.sort_by(|a, b| a.pair.cmp(&b.pair));
        pairs
    }

    /// How each detector is calibrated by its own scores, over all pairs.
    pub fn calibration(&self) -> Vec<Calibration> {
        self.shared.scores.show(self.shared.tails[HOURS])
    }

    /// What the engines count about their work, added up.
    pub fn stats(&self) -> EngineStats {
        let mut sum = self.stats.clone();
        self.engines.iter().for_each(|engine| sum.add(&engine.stats));
        sum.latest = sum.latest.max(EventTime(self.round.latest));
        sum
    }

    /// Learning starts with the first call of the log, not of a partition, or partitioning would change findings.
    pub(crate) fn begin(&mut self, at: i64) {
        if self.began_at.is_none() {
            self.began_at = Some(at);
            self.engines.iter_mut().for_each(|engine| engine.begin(at));
            self.boundary = self.grid.window_of(at.saturating_sub(self.grid.lateness)) + self.grid.base();
        }
    }

    /// Closes the boundaries up to the watermark.
    fn advance_to(&mut self, complete: i64, out: &mut Vec<Finding>) {
        let watermark = complete.saturating_sub(self.grid.lateness);
        while self.boundary <= watermark {
            if self.sources.len() == 0 && self.engines.iter().all(Engine::is_idle) {
                self.boundary = self.grid.window_of(watermark) + self.grid.base();
                break;
            }
            self.close(self.boundary, out);
            self.boundary += self.grid.base();
        }
    }

    pub(crate) fn close(&mut self, boundary: i64, out: &mut Vec<Finding>) {
        self.shared.tails = self.tails();
        self.shared.budget = self.settings.budget;
        let mut output = Output::default();
        self.engines.iter_mut().for_each(|engine| engine.gather(boundary));
        self.excuse_callers();
        for engine in &mut self.engines {
            engine.close(boundary, &self.shared, &mut output);
        }
        self.shared.scores.take(&output.tally);
        let learning_ends = self.began_at.unwrap_or(boundary).saturating_add(micros(self.settings.learning));
        let moment = Moment {
            grid: &self.grid,
            end: boundary,
            reports: boundary > learning_ends,
            watched_hours: (boundary - self.began_at.unwrap_or(boundary)) as f64 / HOUR as f64,
            tail: self.shared.tails[HOURS],
            sensitivity: &self.settings.sensitivity,
            made_by: &self.made_by,
        };
        let mut contacts = std::mem::take(&mut output.contacts);
        contacts.sort_by(|a, b| a.pair.cmp(&b.pair));
        self.shared.learn(&contacts, self.grid.ends(HOURS, boundary), moment.reports);
        self.sources.close(contacts, &moment, &mut self.stats, &mut output);
        if self.grid.ends(HOURS, boundary) {
            let familiar: usize = self.engines.iter().map(Engine::n_familiar).sum();
            self.sharers = familiar.max(1) as u64;
        }
        let mut findings = output.findings;
        findings.sort_by(|a, b| {
            let key =
                |f: &Finding| (f.revised_at(), f.cluster.clone(), f.source.clone(), f.destination.clone());
            (key(a), a.kind, a.revision).cmp(&(key(b), b.kind, b.revision))
        });
        for mut finding in findings {
            self.incidents.join(&mut finding);
            out.push(finding);
        }
    }

    /// Excuses the errors that callers only passed on: of the calls to a service, as many as its own calls had
    /// excused in the same window. Goes up the call graph until nothing changes.
    fn excuse_callers(&mut self) {
        for _ in 0..MAX_HOPS {
            let closing = || self.engines.iter().flat_map(|engine| &engine.closing);
            let mut excused = BTreeMap::<(Arc<str>, Arc<str>), u64>::new();
            for c in closing().filter(|c| c.excused > 0) {
                *excused.entry((c.pair.cluster.clone(), c.pair.source.clone())).or_default() += c.excused;
            }
            if excused.is_empty() {
                return;
            }
            let mut changed = false;
            for c in self.engines.iter_mut().flat_map(|engine| &mut engine.closing).filter(|c| c.errors > 0) {
                let below = excused.get(&(c.pair.cluster.clone(), c.pair.destination.clone()));
                let explained = below.map_or(0, |n| c.errors.min(*n));
                changed |= explained > c.excused;
                c.excused = c.excused.max(explained);
            }
            if !changed {
                return;
            }
        }
    }

    /// The probabilities below which a window is unusual, by level.
    fn tails(&self) -> [f64; LEVELS] {
        std::array::from_fn(|level| self.settings.tail(self.sharers, self.grid.per_day(level + BASE)))
    }
}
