//! What a kind of finding means to a SOC: its title, how it was found, what it shows, what to do.
//!
//! One table, so that adding a kind is one entry and the compiler asks for it.

use lapwing_telemetry::{Finding, FindingKind};

/// The facts about one kind that every format needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindFacts {
    /// For a person, for example `Volume spike`.
    pub title: &'static str,
    /// OCSF `analytic.type_id` and its caption.
    pub analytic: (u8, &'static str),
    /// What was measured: OCSF `observation_parameter`.
    pub parameter: &'static str,
    /// OCSF `observation_type`, in the words of its description.
    pub analysis: &'static str,
    /// OCSF `observed_pattern` of the observation.
    pub pattern: &'static str,
    /// OCSF `observed_pattern` of the baseline.
    pub usual: &'static str,
    /// What to do first, in one or two sentences.
    pub first_steps: &'static str,
}

/// A technique of MITRE ATT&CK [`ATTACK_VERSION`], with the tactic it is claimed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attack {
    /// Id and name of the technique.
    pub technique: (&'static str, &'static str),
    /// Id and name of the tactic.
    pub tactic: (&'static str, &'static str),
}

/// The version of ATT&CK that the ids and names below are taken from.
pub const ATTACK_VERSION: &str = "18.1";

const RULE: (u8, &str) = (1, "Rule");
const BEHAVIORAL: (u8, &str) = (2, "Behavioral");
const STATISTICAL: (u8, &str) = (3, "Statistical");
const LEARNING: (u8, &str) = (4, "Learning (ML/DL)");

const REMOTE_SERVICES: Attack =
    Attack { technique: ("T1021", "Remote Services"), tactic: ("TA0008", "Lateral Movement") };
const DISCOVERY: Attack =
    Attack { technique: ("T1046", "Network Service Discovery"), tactic: ("TA0007", "Discovery") };
const APPLICATION_LAYER_PROTOCOL: Attack =
    Attack { technique: ("T1071", "Application Layer Protocol"), tactic: ("TA0011", "Command and Control") };
const BRUTE_FORCE: Attack =
    Attack { technique: ("T1110", "Brute Force"), tactic: ("TA0006", "Credential Access") };

/// The techniques that a finding's evidence shows; none for most kinds.
///
/// A technique says what an adversary does, so it is claimed only where the calls show the behaviour
/// itself: a first-ever pair that crosses a namespace is a new use of a remote service, a burst of
/// refused tokens from one source at one service is guessing, one source at many services it has no business with
/// is discovery, and small calls at regular times on a pair that is new to them are a beacon, be it a harmless one. A flood, a large transfer, a slow service or a
/// broken certificate has too many harmless causes to carry an accusation.
pub fn attacks(finding: &Finding) -> &'static [Attack] {
    match finding.kind {
        FindingKind::NewPair if crosses_namespace(finding) => &[REMOTE_SERVICES],
        FindingKind::CrossNamespace => &[REMOTE_SERVICES],
        FindingKind::Beaconing => &[APPLICATION_LAYER_PROTOCOL],
        FindingKind::AuthFailures => &[BRUTE_FORCE],
        FindingKind::Scan => &[DISCOVERY],
        FindingKind::NewPair
        | FindingKind::NewOperation
        | FindingKind::RetryStorm
        | FindingKind::TlsDowngrade
        | FindingKind::NewIdentity
        | FindingKind::VolumeSpike
        | FindingKind::OffHours
        | FindingKind::Exfiltration
        | FindingKind::VolumeDrop
        | FindingKind::Silence
        | FindingKind::LatencyShift
        | FindingKind::LatencyDrift
        | FindingKind::ErrorShift
        | FindingKind::PolicyDenials
        | FindingKind::TlsFailures
        | FindingKind::Profile
        | FindingKind::Cardinality
        | FindingKind::RedactionLeak => &[],
    }
}

fn crosses_namespace(finding: &Finding) -> bool {
    match (finding.source.as_deref().map(namespace), finding.destination.as_deref().map(namespace)) {
        (Some(Some(from)), Some(Some(to))) => from != to,
        _ => false,
    }
}

/// The namespace of a service name `namespace/service`; `None` if it has none.
pub fn namespace(service: &str) -> Option<&str> {
    service.split_once('/').map(|(namespace, _)| namespace)
}

/// The facts about a kind.
pub const fn facts(kind: FindingKind) -> KindFacts {
    match kind {
        FindingKind::NewPair => KindFacts {
            title: "New service pair",
            analytic: BEHAVIORAL,
            parameter: "peer_service",
            analysis: "Frequency Analysis",
            pattern: "UNSEEN",
            usual: "FREQUENT",
            first_steps: "Look for a deployment or configuration change that explains the call. If there is \
                          none, isolate the source and read the traces.",
        },
        FindingKind::CrossNamespace => KindFacts {
            title: "New path between namespaces",
            analytic: BEHAVIORAL,
            parameter: "peer_namespace",
            analysis: "Frequency Analysis",
            pattern: "UNSEEN",
            usual: "FREQUENT",
            first_steps: "Ask the owners of both namespaces whether the one is meant to call the other. If not, \
                          deny it by policy, isolate the source and read the traces.",
        },
        FindingKind::NewOperation => KindFacts {
            title: "New operation",
            analytic: BEHAVIORAL,
            parameter: "called_operation",
            analysis: "Frequency Analysis",
            pattern: "UNSEEN",
            usual: "FREQUENT",
            first_steps: "Look for a release of either service that explains the operation. If there is none, \
                          read from the traces what was asked for, and what it was given.",
        },
        FindingKind::NewIdentity => KindFacts {
            title: "New identity",
            analytic: BEHAVIORAL,
            parameter: "peer_identity",
            analysis: "Frequency Analysis",
            pattern: "UNSEEN",
            usual: "FREQUENT",
            first_steps: "Find which workload holds the identity. If none was installed on purpose, look for \
                          one that runs with a wrong or the default service account, and isolate it.",
        },
        FindingKind::Scan => KindFacts {
            title: "Scan of services",
            analytic: BEHAVIORAL,
            parameter: "called_services",
            analysis: "Frequency Analysis",
            pattern: "HIGH_VOLUME",
            usual: "NORMAL_VOLUME",
            first_steps: "Isolate the source unless a change explains why it calls so many services. Read \
                          what it asked for, and what it was given.",
        },
        FindingKind::VolumeSpike => KindFacts {
            title: "Volume spike",
            analytic: STATISTICAL,
            parameter: "call_volume",
            analysis: "Volume Analysis",
            pattern: "HIGH_VOLUME",
            usual: "NORMAL_VOLUME",
            first_steps: "Compare with the load at the edge and with retries. If the source alone has grown, \
                          limit its rate and find what drives it.",
        },
        FindingKind::VolumeDrop => KindFacts {
            title: "Volume drop",
            analytic: STATISTICAL,
            parameter: "call_volume",
            analysis: "Volume Analysis",
            pattern: "LOW_VOLUME",
            usual: "NORMAL_VOLUME",
            first_steps: "Check that the source still runs and reaches the destination, and that its \
                          telemetry still arrives.",
        },
        FindingKind::Silence => KindFacts {
            title: "Silence",
            analytic: STATISTICAL,
            parameter: "call_volume",
            analysis: "Volume Analysis",
            pattern: "LOW_VOLUME",
            usual: "NORMAL_VOLUME",
            first_steps: "Check that the source still runs, that its proxy still exports telemetry, and \
                          that nobody has cut the pair on purpose.",
        },
        FindingKind::OffHours => KindFacts {
            title: "Activity out of hours",
            analytic: BEHAVIORAL,
            parameter: "call_time",
            analysis: "Time-based Analysis",
            pattern: "RARE",
            usual: "FREQUENT",
            first_steps: "Ask who or what runs the source at this hour: a job that was moved, or somebody \
                          who should not be there. Read what the calls asked for.",
        },
        FindingKind::LatencyShift => KindFacts {
            title: "Latency shift",
            analytic: STATISTICAL,
            parameter: "call_duration",
            analysis: "Distribution Analysis",
            pattern: "SHIFTED",
            usual: "NORMAL",
            first_steps: "Follow an exemplar trace to the slow hop. Check recent deployments and the \
                          saturation of the destination.",
        },
        FindingKind::LatencyDrift => KindFacts {
            title: "Latency drift",
            analytic: STATISTICAL,
            parameter: "call_duration",
            analysis: "Trend Analysis",
            pattern: "SHIFTED",
            usual: "NORMAL",
            first_steps: "Look for what grows at the destination: data without an index, a cache that no \
                          longer fits, a leak. Compare with its deployments of the last days.",
        },
        FindingKind::Exfiltration => KindFacts {
            title: "Unusual transfer of data",
            analytic: STATISTICAL,
            parameter: "call_bytes",
            analysis: "Distribution Analysis",
            pattern: "HIGH_VOLUME",
            usual: "NORMAL_VOLUME",
            first_steps: "Read from the exemplars which operations carry the bytes and whether the source \
                          has reason to ask for them. If not, isolate the source and keep its logs.",
        },
        FindingKind::ErrorShift => KindFacts {
            title: "Error shift",
            analytic: STATISTICAL,
            parameter: "failed_call_share",
            analysis: "Distribution Analysis",
            pattern: "SHIFTED",
            usual: "NORMAL",
            first_steps: "Follow an exemplar trace to the failing hop. Check recent deployments of both \
                          services and the dependencies of the destination.",
        },
        FindingKind::RetryStorm => KindFacts {
            title: "Retry storm",
            analytic: STATISTICAL,
            parameter: "retried_call_share",
            analysis: "Distribution Analysis",
            pattern: "SHIFTED",
            usual: "NORMAL",
            first_steps: "Restore the destination first; retries multiply its load. Check that the source backs off \
                          and has a retry budget, and lower its number of attempts until then.",
        },
        FindingKind::Beaconing => KindFacts {
            title: "Beaconing",
            analytic: BEHAVIORAL,
            parameter: "call_interval",
            analysis: "Time-based Analysis",
            pattern: "FREQUENT",
            usual: "INFREQUENT",
            first_steps: "Find what runs on a timer at the source: a new health check or scrape is harmless. If \
                          nobody knows it, isolate the source and read what the calls carry.",
        },
        FindingKind::AuthFailures => KindFacts {
            title: "Authentication failures",
            analytic: STATISTICAL,
            parameter: "refused_token_calls",
            analysis: "Frequency Analysis",
            pattern: "FREQUENT",
            usual: "INFREQUENT",
            first_steps: "Find whose tokens are refused and why. Expired or missing tokens after a change \
                          are repaired at the source; forged or many different ones mean isolating it.",
        },
        FindingKind::PolicyDenials => KindFacts {
            title: "Policy denials",
            analytic: RULE,
            parameter: "denied_calls",
            analysis: "Frequency Analysis",
            pattern: "FREQUENT",
            usual: "INFREQUENT",
            first_steps: "Compare with recent changes of policy. If there is none, ask why the source tries \
                          what it may not, and read the traces.",
        },
        FindingKind::TlsFailures => KindFacts {
            title: "TLS failures",
            analytic: RULE,
            parameter: "failed_tls_calls",
            analysis: "Frequency Analysis",
            pattern: "FREQUENT",
            usual: "INFREQUENT",
            first_steps: "Check expiry and issuer of the certificates on both sides and whether the peer's \
                          identity is the one expected. Rotate what has expired; isolate what is unknown.",
        },
        FindingKind::TlsDowngrade => KindFacts {
            title: "Calls without encryption",
            analytic: BEHAVIORAL,
            parameter: "plaintext_calls",
            analysis: "Frequency Analysis",
            pattern: "UNSEEN",
            usual: "FREQUENT",
            first_steps: "Check whether a sidecar is missing or mTLS was relaxed. If nobody changed it, treat the \
                          source as not verified: require strict mTLS and isolate it.",
        },
        FindingKind::Profile => KindFacts {
            title: "Unusual behaviour",
            analytic: LEARNING,
            parameter: "behaviour_profile",
            analysis: "Distribution Analysis",
            pattern: "RARE",
            usual: "FREQUENT",
            first_steps: "Read which measurements deviate most, then compare with deployments and load of \
                          both services.",
        },
        FindingKind::Cardinality => KindFacts {
            title: "Too many service pairs",
            analytic: RULE,
            parameter: "pair_count",
            analysis: "Frequency Analysis",
            pattern: "UNSEEN",
            usual: "FREQUENT",
            first_steps: "Find the sender that invents service names and stop it; raise the limit only if \
                          the mesh has really grown.",
        },
        FindingKind::RedactionLeak => KindFacts {
            title: "Redaction leaks",
            analytic: RULE,
            parameter: "readable_canary_values",
            analysis: "Frequency Analysis",
            pattern: "UNSEEN",
            usual: "FREQUENT",
            first_steps: "Stop what sends or copies the data, undo the last change of redaction rules, and search \
                          what was stored since with `lapwing redact scan`.",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::finding;

    #[test]
    fn a_technique_is_claimed_only_where_the_evidence_shows_it() {
        let mut claim = finding();
        claim.kind = FindingKind::NewPair;
        claim.source = Some("shop/cart".to_owned());
        claim.destination = Some("pay/ledger".to_owned());
        assert_eq!(attacks(&claim), [REMOTE_SERVICES]);
        claim.destination = Some("shop/ledger".to_owned());
        assert_eq!(attacks(&claim), [], "a new pair inside one namespace is no lateral movement");
        claim.destination = None;
        assert_eq!(attacks(&claim), []);
        claim.kind = FindingKind::VolumeSpike;
        assert_eq!(attacks(&claim), []);
    }

    #[test]
    fn every_kind_has_a_title_of_its_own() {
        let mut titles: Vec<_> = FindingKind::ALL.iter().map(|kind| facts(*kind).title).collect();
        titles.sort_unstable();
        titles.dedup();
        assert_eq!(titles.len(), FindingKind::ALL.len());
    }

    #[test]
    fn every_kind_has_a_runbook_under_its_title() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/runbooks");
        for kind in FindingKind::ALL {
            let page = std::fs::read_to_string(folder.join(format!("{kind}.md"))).unwrap();
            assert_eq!(page.lines().next().unwrap(), format!("# {} (`{kind}`)", facts(*kind).title));
            for part in ["## Triage", "## Respond", "## Benign when"] {
                assert!(page.contains(part), "{kind}: {part}");
            }
        }
    }
}
