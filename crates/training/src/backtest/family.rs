//! What a kind of finding is about, and which kinds of incident that answers.

use std::collections::BTreeSet;

/// What a finding claims, coarsely: different detectors name the same thing in different words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// One source calls many destinations.
    Scan,
    /// Something not seen before calls, or is called.
    New,
    /// More calls than usual.
    Spike,
    /// Fewer calls than usual, or none.
    Drop,
    /// Slower than usual.
    Latency,
    /// More retries than usual.
    Retry,
    /// More failures than usual.
    Error,
    /// Tokens refused.
    Auth,
    /// Refused by policy.
    Policy,
    /// Certificates, TLS, identities.
    Tls,
    /// More bytes than usual.
    Bytes,
    /// At an unusual time.
    Time,
}

/// What the text of a finding's kind names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// No word that is known.
    Nothing,
    /// One family.
    One(Family),
    /// Several families, which together claim nothing in particular.
    Mixed,
}

/// The words by which a kind names a family. Where words overlap the longest counts: a `new_identity` is
/// about identities, a `volume_drop` is a drop. `_` at the end of a word asks for a word's end.
const WORDS: &[(&str, Family)] = &[
    ("scan", Family::Scan),
    ("fan_out", Family::Scan),
    ("new_", Family::New),
    ("unfamiliar", Family::New),
    ("cross_namespace", Family::New),
    ("drop", Family::Drop),
    ("silence", Family::Drop),
    ("volume_drop", Family::Drop),
    ("latency", Family::Latency),
    ("retry", Family::Retry),
    ("error", Family::Error),
    ("auth", Family::Auth),
    ("jwt", Family::Auth),
    ("auth_error", Family::Auth),
    ("auth_denied", Family::Auth),
    ("unauthorized", Family::Auth),
    ("policy", Family::Policy),
    ("denied", Family::Policy),
    ("denial", Family::Policy),
    ("rbac", Family::Policy),
    ("cross_namespace_denied", Family::Policy),
    ("tls", Family::Tls),
    ("cert", Family::Tls),
    ("identity", Family::Tls),
    ("new_identity", Family::Tls),
    ("identity_new", Family::Tls),
    ("tls_error", Family::Tls),
    ("cert_error", Family::Tls),
    ("bytes", Family::Bytes),
    ("exfil", Family::Bytes),
    ("off_hours", Family::Time),
];

/// Words that also describe how something else changed (`error_spike`, `latency_drift`), and so count only
/// where no other word does.
const WEAK_WORDS: &[(&str, Family)] = &[
    ("volume", Family::Spike),
    ("spike", Family::Spike),
    ("surge", Family::Spike),
    ("drift", Family::Latency),
];

impl Named {
    /// Reads the kind of a finding, whatever its capitals and separators.
    pub fn read(kind: &str) -> Named {
        let mut text = String::with_capacity(kind.len() + 1);
        for c in kind.chars().flat_map(char::to_lowercase) {
            match c {
                'a'..='z' | '0'..='9' => text.push(c),
                _ if text.ends_with('_') => {}
                _ => text.push('_'),
            }
        }
        if !text.ends_with('_') {
            text.push('_');
        }
        let mut words: Vec<_> = WORDS.iter().chain(WEAK_WORDS).collect();
        words.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
        let (mut strong, mut weak) = (BTreeSet::new(), BTreeSet::new());
        for entry in words {
            let (word, family) = *entry;
            if text.contains(word) {
                let named = if WEAK_WORDS.contains(entry) { &mut weak } else { &mut strong };
                named.insert(family);
                text = text.replace(word, "|"); // so that a shorter word in it is not read again
            }
        }
        let named = if strong.is_empty() { weak } else { strong };
        match (named.first(), named.len()) {
            (None, _) => Named::Nothing,
            (Some(family), 1) => Named::One(*family),
            _ => Named::Mixed,
        }
    }

    /// Whether a finding of this kind says what an incident of that kind is.
    pub fn fits(self, incident_kind: &str) -> bool {
        let Named::One(family) = self else { return false };
        fitting(incident_kind).contains(&family)
    }

    /// Whether a finding of this kind can be about a hard negative of that kind.
    ///
    /// Growth raises volume, a decline lowers it, a batch does either at its hour; what a deploy, a canary, a
    /// replica or a flood of paths may raise is not known beforehand, so anything counts.
    pub fn can_be_raised_by(self, hard_negative_kind: &str) -> bool {
        let families: &[Family] = match hard_negative_kind {
            "organic_growth" => &[Family::Spike, Family::Bytes],
            "gradual_decline" => &[Family::Drop],
            "nightly_batch" | "late_batch" => {
                &[Family::Spike, Family::Drop, Family::Bytes, Family::Time, Family::New]
            }
            _ => return true,
        };
        matches!(self, Named::One(family) if families.contains(&family))
    }
}

fn fitting(incident_kind: &str) -> &'static [Family] {
    match incident_kind {
        "lateral_scan" => &[Family::Scan],
        "unfamiliar_destination" => &[Family::New],
        "cross_namespace_access" => &[Family::New, Family::Policy],
        "volume_spike" => &[Family::Spike],
        "volume_drop" => &[Family::Drop],
        "latency_step" | "latency_drift" => &[Family::Latency],
        "error_burst" => &[Family::Error],
        "retry_storm" => &[Family::Retry, Family::Error, Family::Spike],
        "auth_failure_burst" => &[Family::Auth],
        "rbac_denied_burst" => &[Family::Policy],
        "cert_validation_failure" => &[Family::Tls],
        "slow_exfiltration" => &[Family::Bytes],
        "off_hours_activity" => &[Family::Time, Family::Spike],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use lapwing_telemetry::FindingKind;

    use super::*;

    #[test]
    fn the_longest_word_counts_and_weak_words_only_alone() {
        let cases = [
            ("volume_drop", Named::One(Family::Drop)),
            ("Volume Spike", Named::One(Family::Spike)),
            ("error-spike", Named::One(Family::Error)),
            ("latency_drift", Named::One(Family::Latency)),
            ("drift", Named::One(Family::Latency)),
            ("volume_drift", Named::Mixed),
            ("new_identity", Named::One(Family::Tls)),
            ("new", Named::One(Family::New)),
            ("renewal", Named::Nothing),
            ("cross_namespace_denied", Named::One(Family::Policy)),
            ("auth_error", Named::One(Family::Auth)),
            ("tls_latency", Named::Mixed),
            ("", Named::Nothing),
            ("TLS::Cert failure", Named::One(Family::Tls)),
        ];
        for (kind, named) in cases {
            assert_eq!(Named::read(kind), named, "{kind}");
        }
    }

    /// A new kind of finding must be looked at here: does the scorer know what it is about?
    #[test]
    fn every_kind_of_finding_names_the_family_it_should() {
        let named: Vec<_> =
            FindingKind::ALL.iter().map(|kind| (kind.as_str(), Named::read(kind.as_str()))).collect();
        let expected = [
            ("new_pair", Named::One(Family::New)),
            ("cross_namespace", Named::One(Family::New)),
            ("new_operation", Named::One(Family::New)),
            ("new_identity", Named::One(Family::Tls)),
            ("scan", Named::One(Family::Scan)),
            ("volume_spike", Named::One(Family::Spike)),
            ("volume_drop", Named::One(Family::Drop)),
            ("silence", Named::One(Family::Drop)),
            ("off_hours", Named::One(Family::Time)),
            ("latency_shift", Named::One(Family::Latency)),
            ("latency_drift", Named::One(Family::Latency)),
            ("error_shift", Named::One(Family::Error)),
            ("retry_storm", Named::One(Family::Retry)),
            ("beaconing", Named::Nothing),
            ("exfiltration", Named::One(Family::Bytes)),
            ("auth_failures", Named::One(Family::Auth)),
            ("policy_denials", Named::One(Family::Policy)),
            ("tls_failures", Named::One(Family::Tls)),
            ("tls_downgrade", Named::One(Family::Tls)),
            ("profile", Named::Nothing),
            ("cardinality", Named::Nothing),
            ("redaction_leak", Named::Nothing),
        ];
        assert_eq!(named, expected);
    }
}
