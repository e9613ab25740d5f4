//! What failed tokens, policy denials and TLS failures have in common.

use lapwing_telemetry::FindingKind;

use super::Case;
use crate::baseline::{Failures, Spread};
use crate::claim::Claim;
use crate::exemplars::Class;
use crate::grid::{HOUR, HOURS, per, span};
use crate::lifecycle::by_count;
use crate::tails::negative_binomial_upper;

/// Refusals that must have been seen within ten minutes.
const MIN_QUICK: u64 = 3;
/// Within an hour.
const MIN_HOUR: u64 = 4;
/// Within four hours.
const MIN_SLOW: u64 = 5;
/// And this many times the expected number.
const MIN_RATIO: f64 = 3.0;

/// The words of a kind of refusal.
pub(crate) struct Words {
    pub(crate) kind: FindingKind,
    pub(crate) detector: &'static str,
    pub(crate) class: Class,
    /// As in `6 calls ... in 10 min`.
    pub(crate) refused: &'static str,
}

/// Claims by the upper tail of a Gamma-Poisson: refusals in the window, and at the end of an hour in four hours,
/// given the posterior of the pair's own rate, in refusals divided by how much more they cluster than chance. A new pair has the prior's small rate, so it is judged at once.
pub(crate) fn judge(case: &Case<'_>, n: u64, usual: &Failures, words: &Words) -> Option<Claim> {
    let slow_length = (Failures::RECENT as i64 + 1) * case.grid.lengths[HOURS];
    let (quick, slow) = (case.length(), (n + usual.recent(), slow_length));
    let windows = [(n, quick), slow];
    windows.into_iter().take(if case.level == HOURS { 2 } else { 1 }).find_map(|(n, length)| {
        let expected = usual.expected(length as f64 / HOUR as f64, case.counts.most(|c| c.calls));
        let least = match length {
            l if l > case.grid.lengths[HOURS] => MIN_SLOW,
            l if l == case.grid.lengths[HOURS] => MIN_HOUR,
            _ => MIN_QUICK,
        };
        if n < least || (n as f64) < MIN_RATIO * expected {
            return None;
        }
        let inflation = Spread::of(&usual.spread, case.level);
        let effective = (n as f64 / inflation).floor().max(1.0) as u64;
        let p = negative_binomial_upper(effective, expected / inflation, usual.shape());
        case.unusual(words.kind, p).map(|p| claim(case, n, expected, length, p, words))
    })
}

fn claim(case: &Case<'_>, n: u64, expected: f64, length: i64, p: f64, words: &Words) -> Claim {
    let state = case.state;
    Claim {
        kind: words.kind,
        detector: words.detector,
        severity: by_count(n),
        p,
        confidence: state.confidence(),
        signal: state.reporter,
        start: case.end - length,
        end: case.end,
        observed: n as f64,
        expected,
        low: None,
        high: Some(MIN_RATIO * expected),
        unit: per("calls", length),
        explanation: format!(
            "{n} calls {} in {}, usually {expected:.2}, {}",
            words.refused,
            span(length),
            state.history(),
        ),
        class: words.class,
        evidence: n as f64,
        quiet: case.quiet(),
    }
}

/// The number of refusals up to which a window makes no finding.
pub(crate) fn usual_most(expected: f64) -> f64 {
    (MIN_RATIO * expected).max((MIN_QUICK - 1) as f64)
}

/// Learns from a window how much refusals cluster.
pub(crate) fn learn_spread(usual: &mut Failures, level: usize, n: u64, hours: f64, calls: u64) {
    let mean = usual.expected(hours, calls);
    // A quiet window says nothing of clusters.
    if usual.shape() >= 5.0 {
        let off = n as f64 - mean;
        usual.spread[level].learn(off * off / mean);
    }
}
