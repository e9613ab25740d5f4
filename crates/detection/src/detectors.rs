//! The detectors: each a pure function of a window and what is usual for its pair.
//!
//! One file and one line each; the list is [`Detectors::judge`]. A field is needed only for what is loaded.

mod auth;
pub(crate) mod beaconing;
pub(crate) mod errors;
pub(crate) mod exfiltration;
pub(crate) mod identity;
pub(crate) mod latency;
mod latency_drift;
pub(crate) mod novelty;
mod off_hours;
pub(crate) mod operations;
mod policy;
mod profile;
pub(crate) mod refusals;
pub(crate) mod retries;
pub(crate) mod scan;
mod tls;
pub(crate) mod volume;
pub(crate) mod volume_drift;

use std::sync::Arc;

use lapwing_telemetry::{FindingKind, Pair};

use crate::claim::Claim;
use crate::counts::Counts;
use crate::grid::{Grid, MINUTE, MINUTES};
use crate::pair_state::{PairState, Unusual};
use crate::scores::Tally;
use crate::sensitivity::factor;
use crate::shared::Shared;
use crate::{Model, Sensitivity};

/// Every detector.
pub(crate) struct Detectors {
    profile: Option<profile::Profile>,
}

/// A closed window of a pair, and all that is known when it closes.
pub(crate) struct Case<'a> {
    pub(crate) grid: &'a Grid,
    pub(crate) pair: &'a Pair,
    pub(crate) state: &'a PairState,
    pub(crate) counts: &'a Counts,
    pub(crate) level: usize,
    pub(crate) end: i64,
    /// How long the log has been watched, in hours.
    pub(crate) watched_hours: f64,
    /// What is known over all pairs.
    pub(crate) shared: &'a Shared,
    /// Where scores are noted.
    pub(crate) tally: &'a Tally,
    pub(crate) sensitivity: &'a [Sensitivity],
}

impl Case<'_> {
    pub(crate) fn start(&self) -> i64 {
        self.end - self.length()
    }

    pub(crate) fn length(&self) -> i64 {
        self.grid.lengths[self.level]
    }

    pub(crate) fn hours(&self) -> f64 {
        self.grid.hours(self.level)
    }

    /// The probability below which this window is unusual in a test of that kind.
    pub(crate) fn tail(&self, kind: FindingKind) -> f64 {
        self.tail_at(self.level, kind)
    }

    /// The same for windows of another level.
    pub(crate) fn tail_at(&self, level: usize, kind: FindingKind) -> f64 {
        self.shared.tails[level] * self.factor(kind)
    }

    /// What the operator gives a kind of finding about this pair, as a multiple of what is usual.
    pub(crate) fn factor(&self, kind: FindingKind) -> f64 {
        factor(self.sensitivity, kind, &self.pair.source, &self.pair.destination)
    }

    /// The probability, corrected by the detector's past scores, if it is small enough to be unusual; if not, it is
    /// noted as a score of an ordinary window.
    pub(crate) fn unusual(&self, kind: FindingKind, p: f64) -> Option<f64> {
        self.unusual_at(self.level, kind, p)
    }

    /// The same for a window of another level.
    pub(crate) fn unusual_at(&self, level: usize, kind: FindingKind, p: f64) -> Option<f64> {
        let corrected = self.shared.scores.correct(kind, p);
        if corrected < self.tail_at(level, kind) {
            return Some(corrected);
        }
        self.tally.note(kind, p);
        None
    }

    /// How long a condition seen in this window stays open unconfirmed: half an hour, or until the next window
    /// of the level has been judged.
    pub(crate) fn quiet(&self) -> i64 {
        (30 * MINUTE).max(self.length() + 15 * MINUTE)
    }
}

impl Detectors {
    pub(crate) fn new(grid: &Grid, model: Option<Arc<Model>>) -> Detectors {
        Detectors { profile: model.map(|model| profile::Profile::new(grid, model)) }
    }

    /// Judges a window.
    pub(crate) fn judge(&self, case: &Case<'_>, claims: &mut Vec<Claim>) {
        if case.level == MINUTES {
            claims.extend(volume::silence(case));
        }
        if case.counts.is_empty() {
            return;
        }
        if case.state.is_learned() {
            case.tally.window(case.level);
        }
        claims.extend(novelty::judge(case));
        claims.extend(operations::judge(case));
        claims.extend(beaconing::judge(case));
        let volume = volume::judge(case);
        if volume.is_none() {
            let strange = off_hours::judge(case);
            // A change at once is no slow one.
            if strange.is_none() && (!case.state.unusual.volume || case.state.unusual.creeping) {
                claims.extend(volume_drift::judge(case));
            }
            claims.extend(strange);
        }
        claims.extend(volume);
        let shift = latency::judge(case);
        // A shift at once is no drift.
        if shift.is_none() && (!case.state.unusual.latency || case.state.unusual.drifting) {
            claims.extend(latency_drift::judge(case));
        }
        claims.extend(shift);
        claims.extend(errors::judge(case));
        claims.extend(retries::judge(case));
        claims.extend(exfiltration::judge(case));
        claims.extend(auth::judge(case));
        claims.extend(policy::judge(case));
        claims.extend(tls::judge(case));
        claims.extend(tls::plaintext(case));
        claims.extend(self.profile.as_ref().and_then(|profile| profile.judge(case)));
        // Tests that know no probability are on or off.
        claims.retain(|claim| case.tail(claim.kind) > 0.0);
    }
}

/// Marks what a claim finds unusual, so that the hour is not learned.
pub(crate) fn mark(unusual: &mut Unusual, claim: &Claim) {
    match claim.kind {
        FindingKind::VolumeSpike | FindingKind::VolumeDrop if claim.detector == "volume_drift" => {
            unusual.creeping = !unusual.volume || unusual.creeping;
            unusual.volume = true;
        }
        FindingKind::VolumeSpike | FindingKind::VolumeDrop | FindingKind::Silence | FindingKind::OffHours => {
            (unusual.volume, unusual.creeping) = (true, false);
        }
        FindingKind::LatencyShift => (unusual.latency, unusual.drifting) = (true, false),
        FindingKind::LatencyDrift => (unusual.latency, unusual.drifting) = (true, true),
        FindingKind::Exfiltration => unusual.sizes = true,
        FindingKind::ErrorShift if claim.detector == errors::SLOWLY => {
            unusual.eroding = !unusual.errors || unusual.eroding;
            unusual.errors = true;
        }
        FindingKind::ErrorShift => (unusual.errors, unusual.eroding) = (true, false),
        FindingKind::RetryStorm => unusual.retries = true,
        FindingKind::AuthFailures => unusual.auth = true,
        FindingKind::PolicyDenials => unusual.policy = true,
        FindingKind::TlsFailures | FindingKind::TlsDowngrade | FindingKind::NewIdentity => unusual.tls = true,
        FindingKind::NewPair
        | FindingKind::CrossNamespace
        | FindingKind::NewOperation
        | FindingKind::Beaconing
        | FindingKind::Scan
        | FindingKind::Profile
        | FindingKind::Cardinality => {}
        // Made beside the engines: canaries are not judged.
        FindingKind::RedactionLeak => {}
    }
}

impl Unusual {
    /// Whether a window has been found unusual in what a kind is about.
    pub(crate) fn has(self, kind: FindingKind) -> bool {
        match kind {
            FindingKind::VolumeSpike
            | FindingKind::VolumeDrop
            | FindingKind::Silence
            | FindingKind::OffHours => self.volume,
            FindingKind::LatencyShift | FindingKind::LatencyDrift => self.latency,
            FindingKind::Exfiltration => self.sizes,
            FindingKind::ErrorShift => self.errors,
            FindingKind::RetryStorm => self.retries,
            FindingKind::AuthFailures => self.auth,
            FindingKind::PolicyDenials => self.policy,
            FindingKind::TlsFailures | FindingKind::TlsDowngrade => self.tls,
            _ => false,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Settings;
    use crate::counts::SignalCounts;
    use crate::grid::{HOUR, HOURS, TENS};
    use lapwing_telemetry::Signal;

    /// A window of that many calls, each so long, with no failure.
    pub(crate) fn window(calls: u64, duration_ms: u64) -> Counts {
        let mut counts = Counts::default();
        let c = counts.signal_mut(Signal::LogServer);
        c.calls = calls;
        c.encrypted = calls;
        // A little apart, as real ones are.
        (0..calls).for_each(|i| c.latency.record((duration_ms * 1_000) * (90 + i % 21) / 100));
        counts
    }

    /// A pair that made `calls_per_hour` calls of 20 ms through ten days.
    pub(crate) fn learned(calls_per_hour: u64) -> PairState {
        let grid = Grid::new(&Settings::default());
        let mut state = PairState::new(0);
        for hour in 0..240 {
            let n = calls_per_hour + hour % 5;
            state.squares = [n, n + n * n / 60, n * n / 6, 0];
            state.learn(&grid, (hour as i64 + 1) * HOUR, &window(n, 20));
            state.volume.look_up(&grid, (hour as i64 + 1) * HOUR);
        }
        state.identities = vec![7];
        state.volume.look_up(&grid, 240 * HOUR);
        state
    }

    /// What a detector says of a window of a learned pair.
    pub(crate) fn judge(
        state: &PairState,
        counts: &Counts,
        level: usize,
        with: impl FnOnce(&Case<'_>) -> Option<Claim>,
    ) -> Option<Claim> {
        judge_with(&Shared::default(), state, counts, level, with)
    }

    /// The same, given what is known over all pairs.
    pub(crate) fn judge_with(
        shared: &Shared,
        state: &PairState,
        counts: &Counts,
        level: usize,
        with: impl FnOnce(&Case<'_>) -> Option<Claim>,
    ) -> Option<Claim> {
        let end = 240 * HOUR + Grid::new(&Settings::default()).lengths[level];
        ask(shared, state, counts, level, end, with)
    }

    /// The same of a window that ends then.
    pub(crate) fn judge_at(
        state: &PairState,
        counts: &Counts,
        level: usize,
        end: i64,
        with: impl FnOnce(&Case<'_>) -> Option<Claim>,
    ) -> Option<Claim> {
        ask(&Shared::default(), state, counts, level, end, with)
    }

    fn ask(
        shared: &Shared,
        state: &PairState,
        counts: &Counts,
        level: usize,
        end: i64,
        with: impl FnOnce(&Case<'_>) -> Option<Claim>,
    ) -> Option<Claim> {
        let settings = Settings::default();
        let grid = Grid::new(&settings);
        let tails = std::array::from_fn(|level| settings.tail(30, grid.per_day(level)));
        let shared = Shared { tails, ..shared.clone() };
        let pair = Pair::new("c", "shop/cart", "data/orders");
        with(&Case {
            grid: &grid,
            pair: &pair,
            state,
            counts,
            level,
            end,
            watched_hours: 240.0,
            shared: &shared,
            tally: &Tally::default(),
            sensitivity: &[],
        })
    }

    #[test]
    fn an_ordinary_window_makes_no_claim() {
        let state = learned(60);
        for (level, calls) in [(TENS, 10), (HOURS, 61), (MINUTES, 1)] {
            let mut claims = Vec::new();
            judge(&state, &window(calls, 20), level, |case| {
                Detectors::new(case.grid, None).judge(case, &mut claims);
                None
            });
            assert!(claims.is_empty(), "{claims:?}");
        }
    }

    #[test]
    fn failures_are_claimed_by_their_own_detector_alone() {
        let state = learned(60);
        let check = |change: &dyn Fn(&mut SignalCounts), kind: FindingKind| {
            let mut counts = window(12, 20);
            change(counts.signal_mut(Signal::LogServer));
            let mut claims = Vec::new();
            judge(&state, &counts, TENS, |case| {
                Detectors::new(case.grid, None).judge(case, &mut claims);
                None
            });
            assert_eq!(claims.iter().map(|c| c.kind).collect::<Vec<_>>(), [kind]);
            let claim = &claims[0];
            assert!(
                claim.p < 1e-5 && claim.observed > claim.expected && claim.explanation.len() > 20,
                "{claim:?}"
            );
        };
        check(&|c| c.errors = 8, FindingKind::ErrorShift);
        check(&|c| c.auth = 8, FindingKind::AuthFailures);
        check(&|c| c.policy = 8, FindingKind::PolicyDenials);
        check(&|c| c.tls = 8, FindingKind::TlsFailures);
    }
}
