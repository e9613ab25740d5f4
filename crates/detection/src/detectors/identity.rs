//! An identity that nobody in the mesh has shown before.

use lapwing_telemetry::{FindingKind, Severity};

use crate::claim::Claim;
use crate::contact::Contact;
use crate::exemplars::Class;
use crate::grid::{BASE, HOUR, per};
use crate::sources::Moment;

/// Identities that the mesh must have shown for one more to be strange: meshes whose records carry identities
/// show several within minutes.
const MIN_KNOWN: usize = 3;

/// Claims the first contact of a pair whose caller shows an identity that no pair of the mesh has shown: a
/// workload that runs with another's or the default account looks like this, because its certificate verifies.
/// Pairs that are known judge strange identities by themselves. The probability is that of the rule of
/// succession (Laplace): after so many hours without a new identity, the chance that the next hour has one.
pub(crate) fn judge(contact: &Contact, now: &Moment<'_>, known: usize, quiet_hours: f64) -> Option<Claim> {
    if !contact.strange || known < MIN_KNOWN {
        return None;
    }
    let denied = contact.denied > 0;
    Some(Claim {
        kind: FindingKind::NewIdentity,
        detector: "identity",
        severity: if denied { Severity::High } else { Severity::Medium },
        p: 1.0 / (quiet_hours.max(0.0) + 2.0),
        confidence: (now.watched_hours / 168.0).min(1.0),
        signal: None,
        start: contact.start,
        end: now.end,
        observed: contact.calls as f64,
        expected: 0.0,
        low: None,
        high: Some(0.0),
        unit: per("calls", now.grid.lengths[BASE]),
        explanation: format!(
            "{} called {} with an identity that none of the {known} known in the mesh is; watched for {:.0} h{}",
            contact.pair.source,
            contact.pair.destination,
            now.watched_hours,
            if denied { ", and a policy denied it" } else { "" },
        ),
        class: Class::Any,
        evidence: contact.calls as f64,
        quiet: HOUR,
    })
}
