//! Calls refused by an authorisation policy.

use lapwing_telemetry::FindingKind;

use super::{Case, refusals};
use crate::claim::Claim;
use crate::exemplars::Class;

/// Claims by the Gamma-Poisson tail of [`refusals::judge`].
pub(crate) fn judge(case: &Case<'_>) -> Option<Claim> {
    let words = refusals::Words {
        kind: FindingKind::PolicyDenials,
        detector: "policy",
        class: Class::Policy,
        refused: "were denied by a policy",
    };
    refusals::judge(case, case.counts.most(|c| c.policy), &case.state.policy, &words)
}
