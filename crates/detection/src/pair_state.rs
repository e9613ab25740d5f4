//! What an engine knows of a pair.

use std::sync::Arc;

use lapwing_telemetry::{EventTime, Pair, Signal};
use serde::{Deserialize, Serialize};

use crate::baseline::{
    Cusum, Days, Distribution, Drift, Errors, Failures, Learn, MAX_KEPT_OUT_HOURS, Operations, Rhythm,
    Rollout, Volume, decide, volume::Squares,
};
use crate::counts::{Counts, SignalCounts};
use crate::exemplars::Exemplars;
use crate::grid::{DAY, Grid, HOURS, LEVELS, MINUTES};
use crate::lifecycle::Open;
use crate::scores::Score;

/// Identities remembered per pair.
const MAX_IDENTITIES: usize = 16;
/// Hours without the reporter after which another signal takes over.
const REPORTER_PATIENCE_HOURS: u8 = 24;
/// Characters of an operation's name that are kept.
const NAME_CHARS: usize = 48;

/// The state of a pair: windows that are open, the hour so far, and what is usual.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PairState {
    pub(crate) pending: Vec<Pending>,
    /// The windows of the longer levels so far.
    pub(crate) spans: [Counts; LEVELS - 1],
    /// Sums of squared counts of the windows of this hour, by level.
    pub(crate) squares: Squares,
    /// Aspects found unusual in this hour.
    pub(crate) unusual: Unusual,
    /// Scores in the tails of detectors, of windows of this hour that were not reported.
    pub(crate) scores: Vec<Score>,
    /// The signal that volume, latency and errors rest on.
    pub(crate) reporter: Option<Signal>,
    reporter_absent_hours: u8,
    /// Start of the first base window that had calls.
    pub(crate) first_seen: i64,
    /// Start of the last one.
    pub(crate) last_seen: i64,
    /// Distinct hours that had calls.
    pub(crate) hours_seen: u32,
    /// Whether it was there while lapwing only learned.
    pub(crate) adopted: bool,
    /// Hours learned.
    pub(crate) hours_learned: u32,
    pub(crate) gap: Gap,
    pub(crate) volume: Volume,
    pub(crate) latency: Distribution,
    pub(crate) slowing: Drift,
    /// Sizes of requests and of responses.
    pub(crate) sizes: [Distribution; 2],
    pub(crate) growing: [Drift; 2],
    pub(crate) days: [Days; 2],
    pub(crate) errors: Errors,
    /// Errors more frequent by too little for any single hour.
    pub(crate) failing: Cusum,
    /// Attempts that are retries.
    pub(crate) retries: Errors,
    /// Calls more, and fewer, by too little for any single hour.
    pub(crate) rising: Cusum,
    pub(crate) falling: Cusum,
    pub(crate) operations: Operations,
    pub(crate) rhythm: Rhythm,
    pub(crate) rollout: Rollout,
    /// Errors in the current windows that an update of the called service, or of one that it calls, explains.
    pub(crate) excused: [u64; LEVELS],
    pub(crate) auth: Failures,
    pub(crate) policy: Failures,
    pub(crate) tls: Failures,
    /// Calls with and without encryption.
    pub(crate) encrypted: u64,
    pub(crate) plaintext: u64,
    pub(crate) identities: Vec<u64>,
    pub(crate) bytes: [Level; 2],
    pub(crate) exemplars: Exemplars,
    /// Names of operations that exemplars refer to.
    pub(crate) names: Vec<Arc<str>>,
    pub(crate) open: Open,
    calls: u64,
    failed: u64,
}

/// A base window that may still get calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) start: i64,
    pub(crate) counts: Counts,
    pub(crate) exemplars: Exemplars,
}

/// Time without calls, measured in calls that should have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Gap {
    /// Its start: the end of the last minute with calls.
    pub(crate) start: i64,
    /// Calls that should have come since.
    pub(crate) missing: f64,
    /// How uncertain that is: the largest doubt met on the way.
    pub(crate) doubt: f64,
}

/// Which aspects of a pair were found unusual in an hour, and are not learned from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unusual {
    pub(crate) volume: bool,
    pub(crate) latency: bool,
    /// Of the volume, only that it creeps.
    pub(crate) creeping: bool,
    /// Of the latency, only that it drifts.
    pub(crate) drifting: bool,
    /// Of the errors, only that they become more frequent slowly.
    pub(crate) eroding: bool,
    pub(crate) sizes: bool,
    pub(crate) errors: bool,
    pub(crate) retries: bool,
    pub(crate) auth: bool,
    pub(crate) policy: bool,
    pub(crate) tls: bool,
}

/// A slowly moving mean of logarithms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Level {
    sum: f32,
    weight: f32,
}

impl Level {
    pub(crate) fn mean(self) -> Option<f64> {
        (self.weight > 0.5).then(|| f64::from(self.sum) / f64::from(self.weight))
    }

    fn learn(&mut self, value: f64) {
        const KEEP: f32 = 0.99;
        self.sum = self.sum * KEEP + value as f32;
        self.weight = self.weight * KEEP + 1.0;
    }
}

/// As much of an operation's name as is kept.
pub(crate) fn kept(name: &str) -> &str {
    let end = name.char_indices().nth(NAME_CHARS).map_or(name.len(), |(at, _)| at);
    &name[..end]
}

impl PairState {
    pub(crate) fn new(first_window: i64) -> PairState {
        PairState {
            pending: Vec::new(),
            spans: [const { Counts::empty() }; LEVELS - 1],
            squares: [0; LEVELS],
            unusual: Unusual::default(),
            scores: Vec::new(),
            reporter: None,
            reporter_absent_hours: 0,
            first_seen: first_window,
            last_seen: first_window,
            hours_seen: 0,
            adopted: false,
            hours_learned: 0,
            gap: Gap { start: first_window, ..Gap::default() },
            volume: Volume::default(),
            latency: Distribution::default(),
            slowing: Drift::default(),
            sizes: [const { Distribution::EMPTY }; 2],
            growing: [const { Drift::NONE }; 2],
            days: [Days::default(); 2],
            errors: Errors::default(),
            failing: Cusum::default(),
            retries: Errors::default(),
            rising: Cusum::default(),
            falling: Cusum::default(),
            operations: Operations::default(),
            rhythm: Rhythm::default(),
            rollout: Rollout::default(),
            excused: [0; LEVELS],
            auth: Failures::default(),
            policy: Failures::default(),
            tls: Failures::default(),
            encrypted: 0,
            plaintext: 0,
            identities: Vec::new(),
            bytes: [Level::default(); 2],
            exemplars: Exemplars::default(),
            names: Vec::new(),
            open: Open::default(),
            calls: 0,
            failed: 0,
        }
    }

    /// The base window that starts at `start`, and whether it is new.
    pub(crate) fn pending(&mut self, start: i64) -> (usize, bool) {
        match self.pending.binary_search_by_key(&start, |p| p.start) {
            Ok(at) => (at, false),
            Err(at) => {
                self.pending.insert(at, Pending { start, ..Pending::default() });
                // Windows close in order: this one before any that the pair was made for.
                if start < self.first_seen {
                    (self.first_seen, self.last_seen, self.gap.start) = (start, start, start);
                }
                (at, true)
            }
        }
    }

    /// The place of an operation's name; `None` if the list is full.
    pub(crate) fn name(names: &mut Vec<Arc<str>>, name: &str, limit: usize) -> Option<u16> {
        let name = kept(name);
        if let Some(at) = names.iter().position(|n| **n == *name) {
            return Some(at as u16);
        }
        if names.len() >= limit.min(usize::from(u16::MAX)) {
            return None;
        }
        names.push(name.into());
        Some((names.len() - 1) as u16)
    }

    /// Counts of the signal that the pair is judged by; `None` if it told of no call.
    pub(crate) fn reported<'a>(&self, counts: &'a Counts) -> Option<&'a SignalCounts> {
        self.reporter.and_then(|signal| counts.of(signal))
    }

    /// Whether volume, latency and errors have been watched for long enough to be judged.
    pub(crate) fn is_learned(&self) -> bool {
        self.reporter.is_some() && self.hours_learned >= 24
    }

    /// How much history there is: ample after a week.
    pub(crate) fn confidence(&self) -> f64 {
        (f64::from(self.hours_learned) / 168.0).min(1.0)
    }

    /// The history in words.
    pub(crate) fn history(&self) -> String {
        match self.hours_learned {
            0 => "on a pair without history".to_owned(),
            h if h < 48 => format!("learned over {h} h"),
            h => format!("learned over {} days", h / 24),
        }
    }

    /// Adds a closed base window to the longer ones; to those that nest, only when the level below closes.
    pub(crate) fn absorb(&mut self, grid: &Grid, window: &Pending) {
        self.last_seen = window.start;
        for (span, level) in self.spans.iter_mut().zip(1..) {
            if level == 1 || !grid.nests(level) {
                span.add(&window.counts);
            }
        }
    }

    /// Counts the gap on by a minute that has ended at `end`.
    pub(crate) fn minute(&mut self, grid: &Grid, end: i64, calls: u64) {
        if calls > 0 {
            self.gap = Gap { start: end, ..Gap::default() };
        } else if self.is_learned() {
            self.gap.missing += self.volume.now.low * grid.hours(MINUTES);
            self.gap.doubt = self.gap.doubt.max(self.volume.now.low_doubt);
        }
    }

    /// Learns the hour that ends at `end`, and begins the next.
    pub(crate) fn learn(&mut self, grid: &Grid, end: i64, hour: &Counts) {
        self.elect(hour);
        let unusual = std::mem::take(&mut self.unusual);
        let mut squares = std::mem::take(&mut self.squares);
        let nothing = SignalCounts::default();
        let reported = self.reported(hour).unwrap_or(&nothing).clone();
        squares[HOURS] = reported.calls.saturating_mul(reported.calls);
        let start = end - grid.lengths[HOURS];
        self.learn_slowly(grid, start, &reported, unusual);
        let how = decide(unusual.volume, &mut self.volume.kept_out);
        // Of its first hour, a pair was there for a part only.
        if start >= self.first_seen {
            self.volume.learn(grid, start, reported.calls, &squares, how);
            self.hours_learned = self.hours_learned.saturating_add(1);
        }
        if how == Learn::Absorb {
            (self.rising, self.falling) = Default::default();
        }
        // What is reported as a shift at once is no drift.
        if !unusual.latency || unusual.drifting {
            self.slowing = self.slowing.after(&self.latency, &reported.latency, start);
        }
        let how = decide(unusual.latency, &mut self.latency.kept_out);
        self.latency.learn(&reported.latency, how);
        self.slowing.settle(how);
        for (i, size) in reported.sizes.iter().enumerate() {
            self.growing[i] = self.growing[i].after(&self.sizes[i], size, start);
            let how = decide(unusual.sizes, &mut self.sizes[i].kept_out);
            self.sizes[i].learn(size, how);
            self.growing[i].settle(how);
        }
        let how = decide(unusual.retries, &mut self.retries.kept_out);
        let retries = hour.most(|c| c.retries);
        self.retries.learn(retries, hour.most(|c| c.calls) + retries, how);
        self.operations.hour(reported.calls > 0);
        let how = decide(unusual.errors, &mut self.errors.kept_out);
        if how == Learn::Absorb {
            self.failing = Cusum::default();
        }
        self.errors.learn(reported.errors.saturating_sub(self.excused[HOURS]), reported.calls, how);
        for (failures, is, n) in [
            (&mut self.auth, unusual.auth, hour.most(|c| c.auth)),
            (&mut self.policy, unusual.policy, hour.most(|c| c.policy)),
            (&mut self.tls, unusual.tls, hour.most(|c| c.tls)),
        ] {
            let how = decide(is, &mut failures.kept_out);
            failures.learn(n, hour.most(|c| c.calls), how);
        }
        if self.tls.kept_out == 0 || self.tls.kept_out >= MAX_KEPT_OUT_HOURS {
            self.encrypted += hour.most(|c| c.encrypted);
            self.plaintext += hour.most(|c| c.plaintext);
            hour.identities.iter().for_each(|(identity, _)| self.know(*identity));
        }
        if reported.sized > 0 && how != Learn::KeepOut {
            let per_call = |bytes: u64| libm::log1p(bytes as f64 / reported.sized as f64);
            self.bytes[0].learn(per_call(reported.bytes_in));
            self.bytes[1].learn(per_call(reported.bytes_out));
        }
        self.calls += reported.calls;
        self.failed += reported.errors + reported.auth + reported.policy + reported.tls;
        self.hours_seen += u32::from(!hour.is_empty());
    }

    /// Takes an hour into what is summed over hours and days, before anything else learns it.
    fn learn_slowly(&mut self, grid: &Grid, start: i64, hour: &SignalCounts, unusual: Unusual) {
        use crate::detectors::{errors, volume_drift};
        if self.is_learned() {
            // What is reported at once is no slow change.
            if !unusual.volume || unusual.creeping {
                self.rising = volume_drift::rising(self, hour.calls, start);
                self.falling = volume_drift::falling(self, hour.calls, start);
            }
            if !unusual.errors || unusual.eroding {
                self.failing = errors::failing(self, hour, self.excused[HOURS], start);
            }
        }
        let whole = start >= self.first_seen;
        for (way, bytes) in [hour.bytes_in, hour.bytes_out].into_iter().enumerate() {
            let per_call = self.sizes[way].mean();
            if whole {
                let apart = unusual.sizes || unusual.volume;
                self.days[way].learn(grid, &self.volume, per_call, start, bytes, apart);
            }
        }
    }

    /// Remembers an identity; the list has an end, after which none is strange any more.
    pub(crate) fn know(&mut self, identity: u64) {
        if self.identities.len() < MAX_IDENTITIES && !self.identities.contains(&identity) {
            self.identities.push(identity);
        }
    }

    /// Whether an identity is not among those that the pair has shown in hours that have been learned.
    pub(crate) fn lacks(&self, identity: u64) -> bool {
        self.identities.len() < MAX_IDENTITIES && !self.identities.contains(&identity)
    }

    /// Whether an identity is one too many.
    pub(crate) fn is_strange(&self, identity: u64) -> bool {
        !self.identities.is_empty() && self.lacks(identity)
    }

    /// Chooses the signal to judge by: the most preferred of those that tell of at least half the calls. A
    /// better one takes over at once, a worse one when the reporter has been absent for a day.
    fn elect(&mut self, hour: &Counts) {
        let most = hour.most(|c| c.calls);
        let tells = |s: &&Signal| hour.of(**s).is_some_and(|c| c.calls * 2 >= most && c.calls > 0);
        let Some(best) = Signal::ALL.iter().find(tells).copied() else { return };
        let absent = self.reporter.is_some_and(|r| hour.of(r).is_none());
        self.reporter_absent_hours = if absent { self.reporter_absent_hours.saturating_add(1) } else { 0 };
        let better = self.reporter.is_none_or(|r| best < r);
        if self.reporter == Some(best) || !(better || self.reporter_absent_hours >= REPORTER_PATIENCE_HOURS) {
            return;
        }
        if self.reporter.is_some() {
            // Another record counts and times calls differently: begin again.
            (self.volume, self.latency, self.errors) = Default::default();
            (self.sizes, self.slowing, self.growing) = Default::default();
            (self.days, self.failing, self.rising, self.falling) = Default::default();
            self.operations = Operations::default();
            (self.hours_learned, self.gap) = (0, Gap { start: self.gap.start, ..Gap::default() });
        }
        self.reporter = Some(best);
        self.reporter_absent_hours = 0;
    }

    /// Whether the pair can be forgotten: silent for two weeks, or for two days if it never became familiar.
    pub(crate) fn is_forgotten(&self, now: i64) -> bool {
        let silent = now - self.last_seen;
        self.open.is_empty()
            && (silent > 14 * DAY || (silent > 2 * DAY && !crate::detectors::novelty::is_familiar(self)))
    }
}

/// What was learned of a pair, for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairSummary {
    /// The pair.
    pub pair: Pair,
    /// Calls counted, as the pair's signal told them.
    pub calls: u64,
    /// Of these, failed or refused.
    pub errors: u64,
    /// Usual median duration, milliseconds; 0 if no duration is known.
    pub latency_ms_p50: f64,
    /// Usual 95th percentile of the duration, milliseconds; 0 if no duration is known.
    pub latency_ms_p95: f64,
    /// Usual calls per hour at this time of day.
    pub calls_per_hour: f64,
    /// Start of the first window with calls.
    pub first_seen: EventTime,
    /// Start of the last window with calls.
    pub last_seen: EventTime,
    /// The signal that the numbers rest on; `None` in the pair's first hour.
    pub signal: Option<Signal>,
}

impl PairSummary {
    pub(crate) fn new(grid: &Grid, pair: &Pair, state: &PairState) -> PairSummary {
        // The hour so far is not learned yet, and the base windows that are open are not in it.
        let mut counts = state.spans[HOURS - 1].clone();
        for level in (MINUTES..HOURS).rev() {
            if !grid.nests(level + 1) {
                break;
            }
            counts.add(&state.spans[level - 1]);
        }
        state.pending.iter().for_each(|p| counts.add(&p.counts));
        let known = |signal| counts.of(signal).is_some_and(|c| c.calls * 2 >= counts.most(|c| c.calls));
        let signal = state.reporter.or_else(|| Signal::ALL.iter().copied().find(|s| known(*s)));
        let nothing = SignalCounts::default();
        let now = signal.and_then(|s| counts.of(s)).unwrap_or(&nothing);
        let usual =
            |share| state.latency.quantile_ms(share).or(now.latency.quantile_ms(share)).unwrap_or(0.0);
        PairSummary {
            pair: pair.clone(),
            calls: state.calls + now.calls,
            errors: state.failed + now.errors + now.auth + now.policy + now.tls,
            latency_ms_p50: usual(0.5),
            latency_ms_p95: usual(0.95),
            calls_per_hour: state.volume.now.expected,
            first_seen: EventTime(state.first_seen),
            last_seen: EventTime(state.pending.last().map_or(state.last_seen, |p| p.start)),
            signal,
        }
    }
}
