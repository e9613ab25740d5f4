//! Calls refused because the caller's token is missing, expired or forged.

use lapwing_telemetry::FindingKind;

use super::{Case, refusals};
use crate::claim::Claim;
use crate::exemplars::Class;

/// Claims by the Gamma-Poisson tail of [`refusals::judge`].
pub(crate) fn judge(case: &Case<'_>) -> Option<Claim> {
    let words = refusals::Words {
        kind: FindingKind::AuthFailures,
        detector: "auth",
        class: Class::Auth,
        refused: "were refused for their token",
    };
    refusals::judge(case, case.counts.most(|c| c.auth), &case.state.auth, &words)
}

#[cfg(test)]
mod tests {
    use crate::baseline::Learn;
    use crate::detectors::tests::{judge, learned, window};
    use crate::grid::{HOURS, TENS};
    use lapwing_telemetry::Signal;

    #[test]
    fn a_burst_and_a_trickle_are_both_claimed() {
        let mut state = learned(60);
        let of = |state: &crate::pair_state::PairState, n, level| {
            let mut counts = window(10, 20);
            counts.signal_mut(Signal::LogServer).auth = n;
            judge(state, &counts, level, super::judge)
        };
        assert!(of(&state, 5, TENS).is_some());
        assert!(of(&state, 2, TENS).is_none());
        assert!(of(&state, 3, HOURS).is_none());
        (0..3).for_each(|_| state.auth.learn(3, 60, Learn::KeepOut));
        let slow = of(&state, 3, HOURS).unwrap();
        assert_eq!((slow.observed, slow.unit.as_str()), (12.0, "calls/4h"));
    }

    #[test]
    fn a_pair_with_a_rate_of_its_own_is_judged_by_it() {
        let mut state = learned(60);
        (0..300).for_each(|_| state.auth.learn(6, 60, Learn::Usual));
        let mut counts = window(60, 20);
        counts.signal_mut(Signal::LogServer).auth = 9;
        assert!(judge(&state, &counts, HOURS, super::judge).is_none());
    }
}
