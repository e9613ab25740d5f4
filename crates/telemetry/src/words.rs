//! Closed vocabularies: what a column of a few fixed words may say.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $text)] $variant,)+ }

        impl $name {
            /// Every word, in order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The word as it stands in columns and findings.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            /// Reads the word; `None` if it is not one of them.
            pub fn parse(text: &str) -> Option<$name> {
                match text { $($text => Some($name::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Which record told us of a call. Both sides of a hop send records of their own, so a call may be
    /// seen up to four times; windows keep the signals apart and so never count it twice.
    /// The order is the order of preference when several tell of one pair: the destination's log sees
    /// every attempt and every denial, the source's log hides retries, spans are often sampled.
    Signal {
        /// The destination proxy's access log.
        LogServer = "log_server",
        /// The source proxy's access log.
        LogClient = "log_client",
        /// A span of kind CLIENT (the source proxy).
        SpanClient = "span_client",
        /// A span of kind SERVER (the destination proxy).
        SpanServer = "span_server",
    }
}

words! {
    /// How a call ended.
    Outcome {
        /// A status below 400, or gRPC `OK`.
        Ok = "ok",
        /// The caller was answered 4xx, or a gRPC status that blames the caller.
        ClientError = "client_error",
        /// The caller was answered 5xx, or a gRPC status that blames the service.
        ServerError = "server_error",
        /// No answer came from the application: connection refused, reset, TLS failure, no route.
        Refused = "refused",
        /// The record does not say.
        Unknown = "unknown",
    }
}

words! {
    /// What the proxy decided about the caller's token.
    Authn {
        /// The token was accepted.
        Ok = "ok",
        /// No token was sent where one is needed.
        Missing = "missing",
        /// The token had expired.
        Expired = "expired",
        /// The signature did not verify.
        BadSignature = "bad_signature",
        /// Issued by an issuer that is not configured.
        UnknownIssuer = "unknown_issuer",
        /// Refused for another reason (audience, not yet valid, malformed, 401 from the application).
        Denied = "denied",
    }
}

words! {
    /// What a finding is about. The words are part of the output contract.
    FindingKind {
        /// A pair that has not been seen before.
        NewPair = "new_pair",
        /// A first call between two namespaces that never spoke to each other.
        CrossNamespace = "cross_namespace",
        /// An operation that a pair has never called, and nobody of its service.
        NewOperation = "new_operation",
        /// A caller with an identity that nobody in the mesh, or nobody on the pair, has shown before.
        NewIdentity = "new_identity",
        /// A source that reaches out to many services which it hardly ever calls, or which deny it.
        Scan = "scan",
        /// More calls than the pair's history explains.
        VolumeSpike = "volume_spike",
        /// Fewer calls than the pair's history explains.
        VolumeDrop = "volume_drop",
        /// No calls at all where there ought to be many.
        Silence = "silence",
        /// Calls at hours of the week at which the pair makes none.
        OffHours = "off_hours",
        /// Calls take longer than they did.
        LatencyShift = "latency_shift",
        /// Calls become slower a little at a time, over hours.
        LatencyDrift = "latency_drift",
        /// A larger share of calls fails.
        ErrorShift = "error_shift",
        /// A larger share of attempts are retries of calls that failed.
        RetryStorm = "retry_storm",
        /// Small calls at regular times on a pair that did not make them before.
        Beaconing = "beaconing",
        /// Calls carry more bytes than the pair's ever did, at once or slowly.
        Exfiltration = "exfiltration",
        /// Calls refused because the caller's token is missing, expired or forged.
        AuthFailures = "auth_failures",
        /// Calls refused by an authorisation policy.
        PolicyDenials = "policy_denials",
        /// Certificate or TLS handshake failures.
        TlsFailures = "tls_failures",
        /// Calls without encryption on a pair that always had it.
        TlsDowngrade = "tls_downgrade",
        /// The pair's behaviour as a whole is unlike what the trained model has seen.
        Profile = "profile",
        /// More pairs than the configured limit: names are being flooded.
        Cardinality = "cardinality",
        /// A made-up value that redaction must take could be read where calls or findings are stored or sent.
        RedactionLeak = "redaction_leak",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for s in Signal::ALL {
            assert_eq!(Signal::parse(s.as_str()), Some(*s));
        }
        for k in FindingKind::ALL {
            assert_eq!(FindingKind::parse(k.as_str()), Some(*k));
            assert_eq!(serde_json::to_string(k).unwrap(), format!("\"{k}\""));
        }
        assert_eq!(Outcome::parse("fine"), None);
    }
}
