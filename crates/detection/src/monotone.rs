//! More of an effect never scores less: a property of every detector that counts.

use lapwing_telemetry::Signal;
use proptest::prelude::*;

use crate::claim::Claim;
use crate::counts::{Counts, SignalCounts};
use crate::detectors::tests::{judge, learned, window};
use crate::detectors::{Case, errors, latency, refusals, retries, volume};
use crate::grid::{HOURS, TENS};
use crate::pair_state::PairState;

/// What is said of windows with more and more of an effect must be said of all that follow, and ever more surely.
fn check(
    state: &PairState,
    level: usize,
    windows: impl Iterator<Item = Counts>,
    with: impl Fn(&Case<'_>) -> Option<Claim>,
) -> Result<bool, TestCaseError> {
    let mut before: Option<Claim> = None;
    for counts in windows {
        let now = judge(state, &counts, level, &with);
        if let Some(before) = &before {
            let Some(now) = &now else {
                return Err(TestCaseError::fail(format!("{} is no longer claimed", before.explanation)));
            };
            prop_assert!(now.p <= before.p, "{} and then {}", before.explanation, now.explanation);
            prop_assert!(now.severity >= before.severity, "{}", now.explanation);
        }
        before = now;
    }
    Ok(before.is_some())
}

/// Windows of so many calls in which `0..=calls` show an effect.
fn ladder(calls: u64, effect: impl Fn(&mut SignalCounts, u64)) -> impl Iterator<Item = Counts> {
    (0..=calls).map(move |n| {
        let mut counts = window(calls, 20);
        effect(counts.signal_mut(Signal::LogServer), n);
        counts
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn more_calls_are_a_surer_spike(rate in 5_u64..200) {
        let state = learned(rate);
        let spike = |case: &Case<'_>| volume::judge(case).filter(|claim| claim.low.is_none());
        prop_assert!(check(&state, HOURS, (0..9).map(|n| window(rate * (1 + n), 20)), spike)?);
    }

    #[test]
    fn more_failures_are_a_surer_shift(rate in 20_u64..200, calls in 12_u64..60, usual in 0_u64..3) {
        let mut state = learned(rate);
        (0..100).for_each(|_| state.errors.learn(usual, 60, crate::baseline::Learn::Usual));
        prop_assert!(check(&state, TENS, ladder(calls, |c, n| c.errors = n), errors::judge)?);
    }

    #[test]
    fn more_retries_are_a_surer_storm(rate in 20_u64..200, calls in 12_u64..60) {
        let state = learned(rate);
        prop_assert!(check(&state, TENS, ladder(calls, |c, n| c.retries = 3 * n), retries::judge)?);
    }

    #[test]
    fn more_refusals_are_surer(rate in 20_u64..200, calls in 12_u64..60) {
        let state = learned(rate);
        let words = refusals::Words {
            kind: lapwing_telemetry::FindingKind::AuthFailures,
            detector: "auth",
            class: crate::exemplars::Class::Auth,
            refused: "were refused",
        };
        let of = |case: &Case<'_>| refusals::judge(case, case.counts.most(|c| c.auth), &case.state.auth, &words);
        prop_assert!(check(&state, TENS, ladder(calls, |c, n| c.auth = n), of)?);
    }

    #[test]
    fn slower_calls_are_surer(rate in 20_u64..200, calls in 12_u64..60, slow_ms in 60_u64..900) {
        let state = learned(rate);
        let windows = (0..=calls).map(|n| {
            let mut counts = window(calls - n, 20);
            let seen = counts.signal_mut(Signal::LogServer);
            seen.calls = calls;
            (0..n).for_each(|_| seen.latency.record(slow_ms * 1_000));
            counts
        });
        let of = |case: &Case<'_>| latency::judge(case).map(|claim| Claim {
            // Which quantile is told of depends on how many calls are slow.
            severity: lapwing_telemetry::Severity::Low,
            ..claim
        });
        prop_assert!(check(&state, TENS, windows, of)?);
    }
}
