//! More bytes than a pair's calls carry: at once, or slowly.

use lapwing_telemetry::{FindingKind, Severity};

use super::Case;
use crate::baseline::{Distribution, Drift};
use crate::claim::{Claim, number};
use crate::counts::{Histogram, SignalCounts, middle};
use crate::exemplars::Class;
use crate::grid::{BASE, DAY, HOUR, HOURS, MINUTES};
use crate::tails::{binomial_upper, student_upper};

/// Calls that the baseline must rest on.
pub(crate) const MIN_HISTORY: f64 = 100.0;
/// Calls above the usual that a window must have, or a slow shift.
const MIN_LARGE: u64 = 3;
/// Bytes beyond the usual that are worth a finding: less is a letter.
const MIN_EXCESS_BYTES: f64 = 256.0 * 1024.0;
/// And this many times what as many usual calls carry, at once.
const MIN_RATIO: f64 = 1.5;
/// Bytes beyond the usual of a day that are worth a finding.
const MIN_DAY_BYTES: f64 = 1024.0 * 1024.0;
/// Tests that share the kind's part of the budget: two ways, and for each many, huge, slowly and over a day.
const TESTS: f64 = 8.0;
/// And over hours, in which the usual calls go on.
const MIN_SLOW_RATIO: f64 = 1.2;
/// Which way the bytes of [`crate::counts::SignalCounts::sizes`] go.
const WAYS: [&str; 2] = ["sent to", "taken from"];

/// Claims by three tests on the sizes of requests and of responses, which no growth in calls moves, and one on the sum
/// of a day. Many: a
/// window's calls above nine tenths of the past are binomial if nothing changed (a sign test; its variance beyond
/// chance is learned, as for latency). Huge: calls beyond the largest ever ([`huge`]). Slowly: the cumulative sum of [`Drift`], over hours and days. Over a day: the logarithm of the local day's bytes by
/// what its hours lead to expect, against that of past days by Student's t (Gosset, Biometrika 6, 1908).
pub(crate) fn judge(case: &Case<'_>) -> Option<Claim> {
    let state = case.state;
    if !state.is_learned() || case.level == BASE || case.level == MINUTES {
        return None;
    }
    let seen = state.reported(case.counts)?;
    (0..WAYS.len()).rev().find_map(|way| {
        let (past, now) = (&state.sizes[way], &seen.sizes[way]);
        at_once(case, past, now, way)
            .or_else(|| slowly(case, past, now, way))
            .or_else(|| over_a_day(case, seen, way))
    })
}

fn at_once(case: &Case<'_>, past: &Distribution, now: &Histogram, way: usize) -> Option<Claim> {
    if past.total() < MIN_HISTORY {
        return None;
    }
    let boundary = past.boundary(0.1);
    let (n, large) = (now.total(), now.from(boundary.bucket));
    let excess = excess(past, now, MIN_RATIO)?;
    let inflation = past.spread[case.level].ratio();
    let many = binomial_upper(large as f64 / inflation, n as f64 / inflation, boundary.share);
    let p = if large >= MIN_LARGE { many.min(huge(past, now)) } else { huge(past, now) };
    let p = case.unusual(FindingKind::Exfiltration, (TESTS * p).min(1.0))?;
    Some(claim(case, now, excess, large, p, case.start(), way))
}

/// The probability of calls larger than all of the past: those above the largest ever are as rare as the history
/// is long, and those above `r` times that `r` times rarer (a Pareto tail of index 1, heavier than that of sizes in
/// traces: Crovella and Bestavros, IEEE/ACM Transactions on Networking 5, 1997).
fn huge(past: &Distribution, now: &Histogram) -> f64 {
    let largest = past.boundary(0.0);
    let n = now.total() as f64;
    let beyond: Vec<usize> = now.iter().map(|(bucket, _)| bucket).filter(|b| *b >= largest.bucket).collect();
    let p = beyond.iter().map(|bucket| {
        let times = middle(*bucket) / middle(largest.bucket).max(1.0);
        binomial_upper(now.from(*bucket) as f64, n, largest.share / times.max(1.0))
    });
    (p.fold(1.0, f64::min) * beyond.len().max(1) as f64).min(1.0)
}

fn slowly(case: &Case<'_>, past: &Distribution, now: &Histogram, way: usize) -> Option<Claim> {
    let start = case.start();
    if case.level != HOURS {
        return None;
    }
    let before = &case.state.growing[way];
    let drift: Drift = before.after(past, now, start);
    let excess = excess(past, &drift.seen, MIN_SLOW_RATIO)?;
    let p = libm::exp(-f64::from(drift.evidence));
    let large = u64::from(drift.above);
    // An hour without more of it is no sign that it goes on.
    if large < MIN_LARGE || !drift.has_grown(before) {
        return None;
    }
    let p = case.unusual(FindingKind::Exfiltration, (TESTS * p).min(1.0))?;
    Some(claim(case, &drift.seen, excess, large, p, drift.since, way))
}

/// A day's bytes against those of past days, whatever their calls: what stays below the threshold of every window.
fn over_a_day(case: &Case<'_>, seen: &SignalCounts, way: usize) -> Option<Claim> {
    if case.level != HOURS {
        return None;
    }
    let state = case.state;
    let bytes = [seen.bytes_in, seen.bytes_out][way];
    let per_call = state.sizes[way].mean();
    let verdict = state.days[way].verdict(case.grid, &state.volume, per_call, case.start(), bytes)?;
    let excess = verdict.observed - verdict.expected;
    if excess < MIN_DAY_BYTES || verdict.observed < MIN_RATIO * verdict.expected || bytes == 0 {
        return None;
    }
    let p = (TESTS * student_upper(verdict.t, verdict.freedom)).min(1.0);
    // One test a day and not one an hour.
    let p = case.unusual(FindingKind::Exfiltration, p * case.grid.lengths[HOURS] as f64 / DAY as f64)?;
    let kib = |bytes: f64| number(bytes / 1024.0);
    Some(Claim {
        start: verdict.since,
        observed: (verdict.observed / 1024.0).round(),
        expected: (verdict.expected / 1024.0).round(),
        high: Some((MIN_RATIO * verdict.expected / 1024.0).round()),
        unit: "KiB/day".to_owned(),
        explanation: format!(
            "{} KiB were {} {} in {} of this day, where {} KiB are usual for all of it; {:.1} standard deviations of past days, {}",
            kib(verdict.observed),
            WAYS[way],
            case.pair.destination,
            crate::grid::span(case.end - verdict.since),
            kib(verdict.expected),
            verdict.t,
            state.history(),
        ),
        ..claim(case, &seen.sizes[way], excess, 0, p, verdict.since, way)
    })
}

/// Bytes beyond what as many usual calls carry; `None` if they are not worth a finding.
fn excess(past: &Distribution, now: &Histogram, ratio: f64) -> Option<f64> {
    let (sum, usual) = (now.sum(), past.mean() * now.total() as f64);
    (sum - usual >= MIN_EXCESS_BYTES && sum >= ratio * usual).then_some(sum - usual)
}

fn claim(case: &Case<'_>, now: &Histogram, excess: f64, large: u64, p: f64, start: i64, way: usize) -> Claim {
    let (state, past) = (case.state, &case.state.sizes[way]);
    let n = now.total();
    let kib = |bytes: f64| number(bytes / 1024.0);
    let usual = past.mean() * n as f64;
    let border = past.quantile_ms(0.9).unwrap_or(0.0) * 1_000.0;
    Claim {
        kind: FindingKind::Exfiltration,
        detector: "exfiltration",
        severity: match excess {
            e if e >= 1e9 => Severity::Critical,
            e if e >= 1e7 => Severity::High,
            _ => Severity::Medium,
        },
        p,
        confidence: state.confidence(),
        signal: state.reporter,
        start,
        end: case.end,
        observed: (now.sum() / 1024.0).round(),
        expected: (usual / 1024.0).round(),
        low: None,
        high: Some((MIN_SLOW_RATIO * usual / 1024.0).round()),
        unit: crate::grid::per("KiB", case.end - start),
        explanation: format!(
            "{n} calls in {} moved {} KiB {} {}, where {} KiB are usual; {large} of them were larger than nine in ten of the past ({} KiB), {}",
            crate::grid::span(case.end - start),
            kib(now.sum()),
            WAYS[way],
            case.pair.destination,
            kib(usual),
            kib(border),
            state.history(),
        ),
        class: Class::Any,
        evidence: excess,
        quiet: case.quiet().max(HOUR + HOUR / 4),
    }
}

/// Bytes up to which a window that usually carries `usual` makes no finding.
pub(crate) fn usual_most(usual: f64) -> f64 {
    (MIN_RATIO * usual).max(usual + MIN_EXCESS_BYTES)
}

/// Learns from a window how much the share of large calls varies.
pub(crate) fn learn_spread(past: &mut Distribution, level: usize, seen: &Histogram) {
    let n = seen.total() as f64;
    if n < MIN_LARGE as f64 || past.total() < MIN_HISTORY {
        return;
    }
    let boundary = past.boundary(0.1);
    let mean = n * boundary.share;
    let off = seen.from(boundary.bucket) as f64 - mean;
    past.spread[level].learn(off * off / (mean * (1.0 - boundary.share)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::Counts;
    use crate::detectors::tests::{judge, learned, window};
    use crate::grid::{Grid, TENS};
    use crate::pair_state::PairState;
    use lapwing_telemetry::Signal;

    /// Calls whose responses are of about 20 KiB, but for the last few.
    fn calls(n: u64, large: u64, bytes: u64) -> Counts {
        let mut counts = window(n, 20);
        let seen = counts.signal_mut(Signal::LogServer);
        (0..n).for_each(|i| {
            seen.sizes[0].record(300);
            seen.sizes[1].record(if i < large { bytes } else { 14_000 + i * 1_537 % 12_000 });
            seen.sized += 1;
        });
        counts
    }

    fn familiar() -> PairState {
        let mut state = learned(10);
        let grid = Grid::new(&crate::Settings::default());
        (0..240).for_each(|hour| state.learn(&grid, (240 + hour) * HOUR, &calls(10, 0, 0)));
        state
    }

    #[test]
    fn a_bulk_of_large_responses_is_claimed_at_once_and_more_is_less_probable() {
        let state = familiar();
        let of = |large, bytes| judge(&state, &calls(12, large, bytes), TENS, super::judge);
        let claim = of(9, 200_000).unwrap();
        assert_eq!((claim.kind, claim.unit.as_str()), (FindingKind::Exfiltration, "KiB/10min"));
        assert!(claim.explanation.contains("taken from data/orders"), "{}", claim.explanation);
        assert!(of(12, 200_000).unwrap().p < claim.p && of(9, 40_000_000).unwrap().severity > claim.severity);
        assert!(of(2, 60_000).is_none(), "two large responses may be anything");
        let one = judge(&state, &calls(12, 1, 250_000_000), HOURS, super::judge).unwrap();
        assert_eq!(one.severity, Severity::High);
        assert!(of(9, 31_000).is_none(), "a few kilobytes more are no loss");
    }

    #[test]
    fn a_trickle_is_claimed_within_hours_though_no_hour_is_strange() {
        let mut state = familiar();
        let grid = Grid::new(&crate::Settings::default());
        let trickle = calls(14, 4, 60_000);
        let mut hours = 0;
        while judge(&state, &trickle, HOURS, super::judge).is_none() {
            hours += 1;
            assert!(hours < 12, "{:?}", state.growing);
            state.learn(&grid, (480 + hours) * HOUR, &trickle);
        }
        assert!(hours >= 2, "one hour alone says little");
    }

    #[test]
    fn many_calls_of_the_usual_size_are_growth_and_not_a_loss() {
        assert!(judge(&familiar(), &calls(600, 0, 0), HOURS, super::judge).is_none());
    }
}
