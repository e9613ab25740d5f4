//! Certificates that do not verify, calls without encryption, and callers with an unknown identity.

use lapwing_telemetry::{FindingKind, Severity};

use super::{Case, refusals};
use crate::claim::Claim;
use crate::exemplars::Class;
use crate::grid::{BASE, per};

/// Calls without encryption that must have been seen within a window.
const MIN_PLAINTEXT: u64 = 3;
/// Calls after which a pair that never was without encryption, or with another identity, stays so.
const MIN_HISTORY: u64 = 50;

/// Claims failed handshakes by the Gamma-Poisson tail of [`refusals::judge`]; an identity that a pair never showed, and
/// plaintext on a pair that always was encrypted, by the rule of succession (Laplace): after so many calls without
/// one, the chance that the next is one.
pub(crate) fn judge(case: &Case<'_>) -> Option<Claim> {
    let words = refusals::Words {
        kind: FindingKind::TlsFailures,
        detector: "tls",
        class: Class::Tls,
        refused: "failed in the TLS handshake",
    };
    refusals::judge(case, case.counts.most(|c| c.tls), &case.state.tls, &words).or_else(|| stranger(case))
}

/// Claims calls without encryption on a pair that always had it (mTLS to plaintext).
pub(crate) fn plaintext(case: &Case<'_>) -> Option<Claim> {
    let state = case.state;
    let n = case.counts.most(|c| c.plaintext);
    let always = state.encrypted >= MIN_HISTORY && state.plaintext == 0;
    let text = format!(
        "{n} calls in {} were not encrypted, as all {} before were",
        crate::grid::span(case.length()),
        state.encrypted
    );
    (n >= MIN_PLAINTEXT && always)
        .then(|| Claim { kind: FindingKind::TlsDowngrade, ..claim(case, n, Severity::High, text) })
}

fn stranger(case: &Case<'_>) -> Option<Claim> {
    let state = case.state;
    if case.level != BASE || state.encrypted < MIN_HISTORY {
        return None;
    }
    let strange = |identity: u64| state.is_strange(identity);
    let n = case.counts.identities.iter().filter(|(id, _)| strange(*id)).map(|(_, n)| u64::from(*n)).max()?;
    let text = format!(
        "{n} call{} by an identity that none of the {} calls before had, {}",
        if n == 1 { "" } else { "s" },
        state.encrypted,
        state.history()
    );
    Some(Claim {
        kind: FindingKind::NewIdentity,
        class: Class::Any,
        ..claim(case, n, Severity::Medium, text)
    })
}

fn claim(case: &Case<'_>, n: u64, severity: Severity, explanation: String) -> Claim {
    Claim {
        kind: FindingKind::TlsFailures,
        detector: "tls",
        severity,
        p: 1.0 / (case.state.encrypted as f64 + 2.0),
        confidence: case.state.confidence(),
        signal: case.state.reporter,
        start: case.start(),
        end: case.end,
        observed: n as f64,
        expected: 0.0,
        low: None,
        high: Some(0.0),
        unit: per("calls", case.length()),
        explanation,
        class: Class::Tls,
        evidence: n as f64,
        quiet: case.quiet(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::tests::{judge, learned, window};
    use crate::grid::TENS;
    use lapwing_telemetry::Signal;

    #[test]
    fn plaintext_and_strangers_are_claimed_on_pairs_that_never_had_them() {
        let mut state = learned(60);
        let mut counts = window(10, 20);
        counts.signal_mut(Signal::LogServer).plaintext = 3;
        let plain = judge(&state, &counts, TENS, super::plaintext).unwrap();
        assert_eq!(
            (plain.kind, plain.severity, plain.observed),
            (FindingKind::TlsDowngrade, Severity::High, 3.0)
        );
        let mut counts = window(10, 20);
        counts.identity(7, 9);
        assert!(judge(&state, &counts, BASE, super::judge).is_none());
        counts.identity(8, 1);
        assert!(judge(&state, &counts, BASE, super::judge).is_some());
        state.know(8);
        state.plaintext = 1;
        counts.signal_mut(Signal::LogServer).plaintext = 3;
        assert!(judge(&state, &counts, BASE, super::plaintext).is_none());
    }
}
