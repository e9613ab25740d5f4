//! The engine of one partition: counts calls in windows, judges and learns windows as they are closed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;
use lapwing_telemetry::{
    Calls, EventTime, Finding, FindingKind, FindingState, Offset, Pair, Position, Severity,
};

use crate::claim::Claim;
use crate::contact::Contact;
use crate::counts::Counts;
use crate::detectors::{
    Case, Detectors, beaconing, errors, exfiltration, latency, mark, novelty, operations, refusals, retries,
    volume,
};
use crate::exemplars::Class;
use crate::features::{N, features};
use crate::grid::{BASE, Grid, HOUR, HOURS, MINUTE, MINUTES, TENS, micros, per};
use crate::intake::{Frame, Row};
use crate::lifecycle::{Open, Subject};
use crate::pair_state::{PairState, PairSummary, Pending};
use crate::scores::Tally;
use crate::shared::Shared;
use crate::watch::Watching;
use crate::{EngineStats, Marks, Model, Settings};

/// Feature rows kept until somebody takes them; further ones are dropped and counted.
const MAX_FEATURE_ROWS: usize = 1 << 20;
/// Calls that a window must have for its features to be collected: those of fewer vary by chance.
const MIN_CALLS_FOR_FEATURES: u64 = 5;
/// The place of a pair beyond the limit.
const OVERFLOWED: u32 = u32::MAX;

/// Judges and learns the calls of one partition. Frames of the partition come in order.
pub(crate) struct Engine {
    pub(crate) settings: Arc<Settings>,
    pub(crate) grid: Grid,
    detectors: Detectors,
    made_by: String,
    pub(crate) began_at: Option<i64>,
    /// The end of the base windows that close next.
    pub(crate) boundary: i64,
    pub(crate) included: Option<Offset>,
    pub(crate) partition: u16,
    pub(crate) overflow: Overflow,
    /// Pairs in the order in which they are judged.
    pub(crate) order: BTreeMap<Pair, u32>,
    /// The same to be looked up in: in a large mesh most calls of a frame are of different pairs, and to find each among
    /// ten thousand in order takes longer than all else.
    places: HashMap<Pair, u32, FixedState>,
    /// Boxed: they are taken out and put back once a window.
    pub(crate) slots: Vec<Option<Box<PairState>>>,
    free: Vec<u32>,
    /// Pairs with calls in a base window, by its start.
    filled: BTreeMap<i64, Vec<(Pair, u32)>>,
    /// Base windows that have been gathered and not yet closed; none between two boundaries.
    pub(crate) closing: Vec<Closing>,
    features: Vec<FeatureRow>,
    /// What people said of findings.
    pub(crate) marks: Marks,
    /// Whom somebody watches.
    pub(crate) watching: Option<Watching>,
    pub(crate) stats: EngineStats,
}

/// A base window that is being closed.
pub(crate) struct Closing {
    pub(crate) pair: Pair,
    place: u32,
    window: Pending,
    pub(crate) errors: u64,
    /// Of these, what an update of a called service explains.
    pub(crate) excused: u64,
}

/// What closing a boundary gives.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) findings: Vec<Finding>,
    pub(crate) contacts: Vec<Contact>,
    /// Scores of the windows that closed.
    pub(crate) tally: Tally,
}

/// Calls of pairs beyond the limit.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Overflow {
    calls: u64,
    open: Open,
}

/// The features of a closed window.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureRow {
    /// The pair.
    pub pair: Pair,
    /// Start of the window, which is about ten minutes long.
    pub window_start: EventTime,
    /// The values, in the order of [`crate::FEATURES`].
    pub features: [f32; N],
}

impl Engine {
    /// Makes an engine that has seen nothing. Without a model, no `profile` finding is made.
    pub(crate) fn new(settings: Arc<Settings>, model: Option<Arc<Model>>) -> Engine {
        let grid = Grid::new(&settings);
        Engine {
            detectors: Detectors::new(&grid, model),
            made_by: settings.made_by(),
            settings,
            grid,
            began_at: None,
            boundary: 0,
            included: None,
            partition: 0,
            overflow: Overflow::default(),
            order: BTreeMap::new(),
            places: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            filled: BTreeMap::new(),
            closing: Vec::new(),
            features: Vec::new(),
            marks: Marks::default(),
            watching: None,
            stats: EngineStats::default(),
        }
    }

    /// Says when the whole log began: learning counts from here, in every partition alike. Only the first time
    /// counts.
    pub(crate) fn begin(&mut self, at: i64) {
        if self.began_at.is_none() {
            self.began_at = Some(at);
            // Windows that end before are late for every call from now on.
            self.boundary = self.grid.window_of(at.saturating_sub(self.grid.lateness)) + self.grid.base();
        }
    }

    /// Counts the calls of a frame; nothing is judged until their windows are closed. A frame that the state
    /// includes already is skipped.
    pub(crate) fn observe(&mut self, position: Position, calls: &Calls) {
        if self.included.is_some_and(|included| position.offset <= included) {
            self.stats.late_frames += 1;
            return;
        }
        self.included = Some(position.offset);
        self.partition = position.partition.0;
        let frame = Frame::new(calls);
        let mut places = HashMap::<[u32; 3], u32, FixedState>::default();
        let mut last = ([0; 3], OVERFLOWED, false);
        for at in 0..frame.len() {
            let received_at = frame.received_at[at];
            self.begin(received_at);
            self.stats.latest = self.stats.latest.max(EventTime(received_at));
            let (Some(cluster), Some(source), Some(destination)) =
                (frame.cluster.id(at), frame.source.id(at), frame.destination.id(at))
            else {
                self.stats.unattributed += 1;
                continue;
            };
            let row = frame.row(at);
            let window = self.grid.window_of(row.at);
            let end = window + self.grid.base();
            // By its own arrival; or, should somebody have broken the word that nothing came before a
            // moment, by what has been closed since.
            if end <= received_at.saturating_sub(self.grid.lateness) || end < self.boundary {
                self.stats.late_calls += 1;
                continue;
            }
            let key = [cluster, source, destination];
            if !(last.2 && last.0 == key) {
                let place = *places.entry(key).or_insert_with(|| self.place(frame.pair(row), window));
                last = (key, place, true);
            }
            self.count(&frame, row, last.1, window);
        }
    }

    /// Hands out the features of the windows closed since the last time; none unless
    /// [`Settings::collect_features`] is set.
    pub(crate) fn take_features(&mut self) -> Vec<FeatureRow> {
        std::mem::take(&mut self.features)
    }

    /// What was learned of every pair, in order of their names.
    pub(crate) fn pairs(&self) -> Vec<PairSummary> {
        let state = |place: &u32| self.slots[*place as usize].as_ref();
        self.order
            .iter()
            .filter_map(|(pair, place)| Some(PairSummary::new(&self.grid, pair, state(place)?)))
            .collect()
    }

    /// Pairs that are part of what is usual. Only these share the budget of false findings, so that a flood
    /// of names cannot make the engine blunt.
    pub(crate) fn n_familiar(&self) -> usize {
        self.slots.iter().flatten().filter(|state| novelty::is_familiar(state)).count()
    }

    /// Finds the place of a pair, or makes one; [`OVERFLOWED`] if there is no room.
    fn place(&mut self, pair: Pair, window: i64) -> u32 {
        match self.places.get(&pair) {
            Some(place) => *place,
            None if self.order.len() >= self.settings.max_pairs => OVERFLOWED,
            None => self.insert(pair, PairState::new(window)),
        }
    }

    pub(crate) fn insert(&mut self, pair: Pair, state: PairState) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        for window in &state.pending {
            self.filled.entry(window.start).or_default().push((pair.clone(), place));
        }
        self.places.insert(pair.clone(), place);
        self.order.insert(pair, place);
        self.slots[place as usize] = Some(Box::new(state));
        self.stats.pairs = self.order.len() as u64;
        place
    }

    /// Puts a window that was not counted call by call.
    #[cfg(test)]
    pub(crate) fn put(&mut self, pair: &Pair, place: u32, window: crate::pair_state::Pending) {
        self.filled.entry(window.start).or_default().push((pair.clone(), place));
        let state = self.slots[place as usize].as_mut().expect("the pair was inserted");
        state.pending.push(window);
    }

    fn count(&mut self, frame: &Frame<'_>, row: Row, place: u32, window: i64) {
        let Some(Some(state)) = self.slots.get_mut(place as usize) else {
            self.stats.overflowed += 1;
            self.overflow.calls += 1;
            return;
        };
        self.stats.calls += 1;
        let (at, is_new) = state.pending(window);
        if is_new {
            let pair = frame.pair(row);
            self.filled.entry(window).or_default().push((pair, place));
        }
        let PairState { pending, names, .. } = &mut **state;
        let limit = self.settings.max_operations_per_pair;
        let open = &mut pending[at];
        frame.count(row, window, &mut open.counts, &mut open.exemplars, |name| {
            PairState::name(names, name, limit)
        });
    }

    /// Whether closing a boundary would do nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.order.is_empty() && self.overflow == Overflow::default()
    }

    /// Closes the windows that end at a boundary and have been gathered. Boundaries come in order, and none is left out unless the
    /// engine is idle.
    pub(crate) fn close(&mut self, boundary: i64, shared: &Shared, out: &mut Output) {
        self.boundary = boundary + self.grid.base();
        for closing in std::mem::take(&mut self.closing) {
            self.close_base(&closing, boundary, shared, out);
        }
        let levels = [MINUTES, TENS, HOURS].map(|level| self.grid.ends(level, boundary));
        if levels.contains(&true) {
            let order: Vec<(Pair, u32)> = self.order.iter().map(|(p, place)| (p.clone(), *place)).collect();
            for (pair, place) in order {
                self.close_spans(&pair, place, boundary, levels, shared, out);
            }
            self.close_overflow(boundary, &mut out.findings);
        }
    }

    /// Takes out the base windows that end at a boundary, so that what they say of each other is known before any
    /// is judged. [`Engine::close`] follows.
    pub(crate) fn gather(&mut self, boundary: i64) {
        let start = boundary - self.grid.base();
        let mut filled = self.filled.remove(&start).unwrap_or_default();
        if filled.len() * 4 < self.order.len() {
            filled.sort_unstable();
        } else {
            // Comparing names costs more than walking them in their order.
            let is_filled = |place: &u32| {
                let state = self.slots[*place as usize].as_ref();
                state.is_some_and(|s| s.pending.binary_search_by_key(&start, |p| p.start).is_ok())
            };
            filled.clear();
            filled.extend(
                self.order.iter().filter(|(_, place)| is_filled(place)).map(|(p, place)| (p.clone(), *place)),
            );
        }
        for (pair, place) in filled {
            let Some(state) = self.slots[place as usize].as_mut() else { continue };
            let Ok(at) = state.pending.binary_search_by_key(&start, |p| p.start) else { continue };
            let window = state.pending.remove(at);
            state.rollout.see(&window.counts.instances, start);
            let errors = state.reported(&window.counts).map_or(0, |c| c.errors);
            let excused = if state.rollout.covers(start) { errors } else { 0 };
            self.closing.push(Closing { pair, place, window, errors, excused });
        }
    }

    fn close_base(&mut self, closing: &Closing, boundary: i64, shared: &Shared, out: &mut Output) {
        let Closing { pair, place, window, excused, .. } = closing;
        let Some(mut state) = self.slots[*place as usize].take() else { return };
        self.stats.windows_closed += 1;
        state.excused.iter_mut().for_each(|n| *n += excused);
        state.exemplars.absorb(&window.exemplars);
        let discovers = {
            let case = self.case(pair, &state, &window.counts, (BASE, boundary), shared, &out.tally);
            operations::discovered(&case).is_some()
        };
        out.contacts.extend(Contact::of(pair, &state, window, discovers));
        let mut beats = false;
        if self.reports(boundary) {
            let kinds = self.judge(pair, &mut state, &window.counts, (BASE, boundary), shared, out);
            beats = kinds.contains(&FindingKind::Beaconing);
        } else {
            state.adopted = true;
        }
        beaconing::learn(&mut state, &window.counts, window.start, boundary, beats);
        if let Some(seen) = state.reported(&window.counts) {
            let operations = &seen.operations;
            state.operations.see(operations);
        }
        state.excused[BASE] = 0;
        tally(&mut state, &window.counts, BASE);
        state.absorb(&self.grid, window);
        self.slots[*place as usize] = Some(state);
    }

    fn close_spans(
        &mut self,
        pair: &Pair,
        place: u32,
        boundary: i64,
        levels: [bool; 3],
        shared: &Shared,
        out: &mut Output,
    ) {
        let Some(mut state) = self.slots[place as usize].take() else { return };
        for level in [MINUTES, TENS, HOURS].into_iter().filter(|level| levels[level - 1]) {
            let counts = std::mem::take(&mut state.spans[level - 1]);
            if level == MINUTES {
                state.minute(&self.grid, boundary, counts.most(|c| c.calls));
            }
            if level == TENS {
                self.collect(pair, &state, &counts, boundary);
            }
            if let Some(watching) = &mut self.watching {
                watching.see(&self.grid, pair, &state, &counts, level, boundary);
            }
            if self.reports(boundary) {
                // A level as long as the one below has been judged; only silence has not.
                let nothing = Counts::default();
                let judged = if self.grid.repeats(level) { &nothing } else { &counts };
                self.judge(pair, &mut state, judged, (level, boundary), shared, out);
            }
            if level == HOURS {
                let unusual = state.unusual;
                out.tally.count(&mut state.scores, |kind| unusual.has(kind));
                state.learn(&self.grid, boundary, &counts);
                state.volume.look_up(&self.grid, boundary);
            } else {
                tally(&mut state, &counts, level);
                if self.grid.nests(level + 1) {
                    state.spans[level].add(&counts);
                }
            }
            state.excused[level] = 0;
        }
        state.open.close(boundary, &mut out.findings);
        if levels[HOURS - 1] && state.is_forgotten(boundary) {
            self.forget(pair, place, *state);
        } else {
            self.slots[place as usize] = Some(state);
        }
    }

    fn judge(
        &mut self,
        pair: &Pair,
        state: &mut PairState,
        counts: &Counts,
        (level, end): (usize, i64),
        shared: &Shared,
        out: &mut Output,
    ) -> Vec<FindingKind> {
        let mut claims = Vec::new();
        self.detectors.judge(&self.case(pair, state, counts, (level, end), shared, &out.tally), &mut claims);
        out.tally.hand_to(&mut state.scores);
        let n_claims = claims.len();
        claims.retain(|claim| !self.marks.withhold(pair, claim));
        self.stats.withheld += (n_claims - claims.len()) as u64;
        let kinds = claims.iter().map(|claim| claim.kind).collect();
        let PairState { open, exemplars, names, unusual, .. } = state;
        for claim in claims {
            mark(unusual, &claim);
            let (class, start, end) = (claim.class, claim.start, claim.end);
            let subject = Subject::pair(pair, &self.made_by);
            let show = || exemplars.shown(class, start, end, names);
            publish(open.claim(claim, &subject, show), &mut self.stats, &mut out.findings);
        }
        if level != BASE && level != MINUTES {
            let unusual = state.unusual;
            if !unusual.volume {
                let calls = state.reported(counts).map_or(0, |c| c.calls);
                volume::calibrate(state, &self.grid, level, calls);
            }
            let (hours, calls) = (self.grid.hours(level), counts.most(|c| c.calls));
            for (usual, is, n) in [
                (&mut state.auth, unusual.auth, counts.most(|c| c.auth)),
                (&mut state.policy, unusual.policy, counts.most(|c| c.policy)),
                (&mut state.tls, unusual.tls, counts.most(|c| c.tls)),
            ] {
                if !is {
                    refusals::learn_spread(usual, level, n, hours, calls);
                }
            }
            if !unusual.retries {
                retries::learn_spread(state, level, counts.most(|c| c.retries), calls);
            }
            if let Some(seen) = state.reported(counts).cloned() {
                if !unusual.latency {
                    latency::learn_spread(state, level, &seen.latency);
                }
                if !unusual.sizes {
                    for (past, seen) in state.sizes.iter_mut().zip(&seen.sizes) {
                        exfiltration::learn_spread(past, level, seen);
                    }
                }
                if !unusual.errors {
                    errors::learn_spread(state, level, &seen);
                }
            }
        }
        kinds
    }

    fn case<'a>(
        &'a self,
        pair: &'a Pair,
        state: &'a PairState,
        counts: &'a Counts,
        (level, end): (usize, i64),
        shared: &'a Shared,
        tally: &'a Tally,
    ) -> Case<'a> {
        let began_at = self.began_at.unwrap_or(end);
        Case {
            grid: &self.grid,
            pair,
            state,
            counts,
            level,
            end,
            watched_hours: (end - began_at) as f64 / HOUR as f64,
            shared,
            tally,
            sensitivity: &self.settings.sensitivity,
        }
    }

    /// Whether the time of learning alone is over.
    fn reports(&self, end: i64) -> bool {
        self.began_at.is_some_and(|at| end > at.saturating_add(micros(self.settings.learning)))
    }

    fn collect(&mut self, pair: &Pair, state: &PairState, counts: &Counts, end: i64) {
        let calls = state.reported(counts).map_or(0, |c| c.calls);
        if !self.settings.collect_features || !state.is_learned() || calls < MIN_CALLS_FOR_FEATURES {
            return;
        }
        if self.features.len() >= MAX_FEATURE_ROWS {
            self.stats.dropped_features += 1;
            return;
        }
        self.features.push(FeatureRow {
            pair: pair.clone(),
            window_start: EventTime(end - self.grid.lengths[TENS]),
            features: features(counts, state, self.grid.hours(TENS)),
        });
    }

    /// Forgets what was learned of a pair. Calls that have come since wait for their windows: they begin anew.
    fn forget(&mut self, pair: &Pair, place: u32, state: PairState) {
        self.stats.evicted += 1;
        if let Some(first) = state.pending.first().map(|p| p.start) {
            let mut anew = PairState::new(first);
            (anew.pending, anew.names) = (state.pending, state.names);
            self.slots[place as usize] = Some(Box::new(anew));
            return;
        }
        self.order.remove(pair);
        self.places.remove(pair);
        self.slots[place as usize] = None;
        self.free.push(place);
        self.stats.pairs = self.order.len() as u64;
    }

    /// Claims a flood of names if calls of this minute found no room.
    fn close_overflow(&mut self, end: i64, out: &mut Vec<Finding>) {
        let Overflow { calls, open } = &mut self.overflow;
        let n = std::mem::take(calls);
        let everyone = Pair::new("*", "*", &format!("partition {}", self.partition));
        let subject =
            Subject { pair: &everyone, source: Some("*"), destination: None, made_by: &self.made_by };
        if n > 0 && self.began_at.is_some_and(|at| end > at.saturating_add(micros(self.settings.learning))) {
            let length = self.grid.lengths[MINUTES];
            let limit = self.settings.max_pairs;
            let claim = Claim {
                kind: FindingKind::Cardinality,
                detector: "cardinality",
                severity: Severity::High,
                p: 0.0,
                confidence: 1.0,
                signal: None,
                start: end - length,
                end,
                observed: n as f64,
                expected: 0.0,
                low: None,
                high: Some(0.0),
                unit: per("calls", length),
                explanation: format!(
                    "{n} calls in {} belong to pairs beyond the limit of {limit} pairs and were not judged; names are being flooded, or `max_pairs` is too low",
                    crate::grid::span(length)
                ),
                class: Class::Any,
                evidence: n as f64,
                quiet: 30 * MINUTE,
            };
            publish(open.claim(claim, &subject, Vec::new), &mut self.stats, out);
        }
        open.close(end, out);
    }
}

/// Adds the square of a window's calls to those of its hour.
fn tally(state: &mut PairState, counts: &Counts, level: usize) {
    if let Some(seen) = state.reported(counts) {
        let square = seen.calls.saturating_mul(seen.calls);
        state.squares[level] = state.squares[level].saturating_add(square);
    }
}

pub(crate) fn publish(finding: Option<Finding>, stats: &mut EngineStats, out: &mut Vec<Finding>) {
    if let Some(finding) = finding {
        if finding.state == FindingState::Open {
            *stats.findings.entry(finding.kind).or_default() += 1;
        }
        out.push(finding);
    }
}
