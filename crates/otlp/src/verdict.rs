//! What a proxy's words say about how a call ended: outcome, token, policy, TLS.

use lapwing_telemetry::{Authn, Outcome};

/// What a record says about the answer, each as far as it says it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Answer<'a> {
    /// HTTP status; 0 if no answer was sent.
    pub(crate) status: Option<i16>,
    /// gRPC status, 0..=16.
    pub(crate) grpc: Option<u8>,
    /// Envoy's response flags.
    pub(crate) flags: Option<&'a str>,
    /// Envoy's response code details.
    pub(crate) details: Option<&'a str>,
    /// Whether a TLS handshake failed.
    pub(crate) tls_failed: bool,
    /// Whether the span's status is an error; `None` if it has no status, or is a log.
    pub(crate) span_error: Option<bool>,
    /// Whether the record is the caller's: it cannot tell a policy's 403 from the application's.
    pub(crate) is_callers: bool,
}

/// Response flags that mean that no answer came from the application: it could not be reached, or the
/// connection broke. Not among them: `UT` (it was reached and too slow), `URX` alone (its last answer was an
/// error), `DC` with a status (the caller left).
/// Source: <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#config-access-log-format-response-flags>.
const NO_ANSWER: [&str; 12] = ["UF", "UH", "UC", "LH", "LR", "UR", "UO", "NR", "NC", "DF", "UPE", "DPE"];

/// gRPC statuses that blame the service: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE,
/// DATA_LOSS. Source: <https://opentelemetry.io/docs/specs/semconv/rpc/grpc/>, status of server spans.
const GRPC_SERVER_ERRORS: [u8; 6] = [2, 4, 12, 13, 14, 15];

/// gRPC statuses by name, in order of their numbers.
const GRPC_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const GRPC_PERMISSION_DENIED: u8 = 7;
const GRPC_UNAUTHENTICATED: u8 = 16;

/// Reads a gRPC status: a number, or a name in any case, with or without underscores.
pub(crate) fn grpc_status(text: &str) -> Option<u8> {
    if let Ok(number) = text.parse::<u8>() {
        return (usize::from(number) < GRPC_NAMES.len()).then_some(number);
    }
    let plain = |name: &str| name.replace('_', "").to_ascii_lowercase();
    let text = plain(text);
    GRPC_NAMES.iter().position(|name| plain(name) == text).map(|i| i as u8)
}

impl<'a> Answer<'a> {
    /// How the call ended.
    pub(crate) fn outcome(&self) -> Outcome {
        if self.tls_failed || self.status == Some(0) {
            return Outcome::Refused;
        }
        if self.status.is_none_or(|s| s >= 500)
            && self.details != Some("via_upstream")
            && self.has_flag(&NO_ANSWER)
        {
            return Outcome::Refused;
        }
        match (self.grpc, self.status) {
            (Some(code), Some(..400) | None) if code > 0 => {
                if GRPC_SERVER_ERRORS.contains(&code) {
                    Outcome::ServerError
                } else {
                    Outcome::ClientError
                }
            }
            (_, Some(500..)) => Outcome::ServerError,
            (_, Some(400..)) => Outcome::ClientError,
            (_, Some(_)) | (Some(_), None) => Outcome::Ok,
            (None, None) => match self.span_error {
                Some(true) => Outcome::ServerError,
                Some(false) => Outcome::Ok,
                None => Outcome::Unknown,
            },
        }
    }

    /// What was decided about the caller's token; `None` if the record does not say. Envoy writes the
    /// reason as `jwt_authn_access_denied{REASON}`, with the reasons of jwt_verify_lib's `status.cc` and
    /// underscores for spaces. A 401 with no such reason comes from the application or, in Linkerd and in
    /// records of the caller, from anyone: it is `denied`.
    pub(crate) fn authn(&self) -> Option<Authn> {
        if let Some(reason) = self.details.and_then(|d| d.strip_prefix("jwt_authn_access_denied{")) {
            let reasons = [
                ("Jwt_is_missing", Authn::Missing),
                ("Jwt_is_expired", Authn::Expired),
                ("Jwt_verification_fails", Authn::BadSignature),
                ("Jwks_doesn't_have_key_to_match", Authn::BadSignature),
                ("Jwt_issuer_is_not_configured", Authn::UnknownIssuer),
            ];
            let known = reasons.iter().find(|(prefix, _)| reason.starts_with(prefix));
            return Some(known.map_or(Authn::Denied, |(_, word)| *word));
        }
        (self.status == Some(401) || self.grpc == Some(GRPC_UNAUTHENTICATED)).then_some(Authn::Denied)
    }

    /// What the policy decided: whether it denied, and the policy's name where it has one. Envoy's filter
    /// writes `rbac_access_denied_matched_policy[NAME]`, with `none` if no policy allowed the call
    /// (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/rbac_filter>); an
    /// external authoriser leaves the flag `UAEX`. A 403 without details (Linkerd, spans) counts as the
    /// policy's; so does any 403 in the caller's record, which cannot know better; a 403 that the callee's
    /// proxy says came from its application does not.
    pub(crate) fn policy_denial(&self) -> Option<Option<&'a str>> {
        if let Some(name) = self.details.and_then(|d| d.strip_prefix("rbac_access_denied_matched_policy[")) {
            let name = name.rfind(']').map_or(name, |end| &name[..end]);
            return Some((name != "none" && !name.is_empty()).then_some(name));
        }
        let by_authoriser =
            self.details.is_some_and(|d| d.starts_with("ext_authz_denied")) || self.has_flag(&["UAEX"]);
        let forbidden = self.status == Some(403) || self.grpc == Some(GRPC_PERMISSION_DENIED);
        let unexplained = forbidden && (self.details.is_none() || self.is_callers);
        (by_authoriser || unexplained).then_some(None)
    }

    fn has_flag(&self, any_of: &[&str]) -> bool {
        self.flags.is_some_and(|flags| flags.split(',').any(|flag| any_of.contains(&flag)))
    }
}

/// The kind of TLS failure that Envoy's transport failure reason tells of, as the `tls` column writes it;
/// `None` if it is no TLS failure. The reasons are BoringSSL's error strings
/// (`ssl/ssl_lib.cc`, `crypto/err/ssl.errordata`) and OpenSSL's verification errors (`x509_txt.c`).
///
/// An alert (`…_ALERT_…`) was sent by the other side about *our* certificate.
pub(crate) fn tls_failure(reason: &str) -> Option<&'static str> {
    let at = reason.find("TLS_error").or_else(|| reason.find("TLS error"))?;
    let reason = &reason[at..];
    let has = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    Some(if has(&["has_expired", "has expired", "CERTIFICATE_EXPIRED"]) {
        "failed:expired"
    } else if has(&["SAN_matcher", "SAN matcher", "SANs_are", "verify_SAN"]) {
        "failed:san_mismatch"
    } else if has(&["PEER_DID_NOT_RETURN_A_CERTIFICATE", "CERTIFICATE_REQUIRED", "ALERT_NO_CERTIFICATE"]) {
        "failed:no_certificate"
    } else if has(&[
        "CERTIFICATE_VERIFY_FAILED",
        "UNKNOWN_CA",
        "CERTIFICATE_UNKNOWN",
        "BAD_CERTIFICATE",
        "CERTIFICATE_REVOKED",
    ]) {
        "failed:untrusted"
    } else if has(&[
        "WRONG_VERSION",
        "HTTP_REQUEST",
        "NO_SHARED",
        "UNSUPPORTED_PROTOCOL",
        "HANDSHAKE",
        "PROTOCOL_VERSION",
        "BAD_DECRYPT",
        "NO_APPLICATION_PROTOCOL",
    ]) {
        "failed:handshake"
    } else {
        "failed:other"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: i16) -> Answer<'static> {
        Answer { status: Some(status), ..Answer::default() }
    }

    #[test]
    fn an_outcome_tells_who_is_to_blame() {
        let check = |answer: Answer<'_>, expect| assert_eq!(answer.outcome(), expect);
        check(answer(200), Outcome::Ok);
        check(answer(301), Outcome::Ok);
        check(answer(404), Outcome::ClientError);
        check(answer(500), Outcome::ServerError);
        check(answer(0), Outcome::Refused);
        check(Answer { flags: Some("DC"), ..answer(0) }, Outcome::Refused);
        check(Answer { flags: Some("URX,UF"), ..answer(503) }, Outcome::Refused);
        check(
            Answer { flags: Some("URX"), details: Some("via_upstream"), ..answer(503) },
            Outcome::ServerError,
        );
        check(
            Answer { flags: Some("UC"), details: Some("via_upstream"), ..answer(503) },
            Outcome::ServerError,
        );
        check(
            Answer {
                flags: Some("UC"),
                details: Some("upstream_reset_before_response_started{x}"),
                ..answer(503)
            },
            Outcome::Refused,
        );
        check(Answer { flags: Some("NR"), ..answer(404) }, Outcome::ClientError);
        check(Answer { flags: Some("UT"), ..answer(504) }, Outcome::ServerError);
        check(Answer { grpc: Some(14), ..answer(200) }, Outcome::ServerError);
        check(Answer { grpc: Some(5), ..answer(200) }, Outcome::ClientError);
        check(Answer { grpc: Some(0), ..answer(200) }, Outcome::Ok);
        check(Answer { grpc: Some(0), ..Answer::default() }, Outcome::Ok);
        check(Answer { tls_failed: true, ..answer(503) }, Outcome::Refused);
        check(Answer { span_error: Some(true), ..Answer::default() }, Outcome::ServerError);
        check(Answer { span_error: Some(false), ..Answer::default() }, Outcome::Ok);
        check(Answer::default(), Outcome::Unknown);
    }

    #[test]
    fn a_refused_token_has_its_reason() {
        let check = |details: &'static str, expect| {
            assert_eq!(Answer { details: Some(details), ..answer(401) }.authn(), Some(expect), "{details}");
        };
        check("jwt_authn_access_denied{Jwt_is_missing}", Authn::Missing);
        check("jwt_authn_access_denied{Jwt_is_expired}", Authn::Expired);
        check("jwt_authn_access_denied{Jwt_verification_fails}", Authn::BadSignature);
        check("jwt_authn_access_denied{Jwt_issuer_is_not_configured}", Authn::UnknownIssuer);
        check("jwt_authn_access_denied{Audiences_in_Jwt_are_not_allowed}", Authn::Denied);
        check("via_upstream", Authn::Denied);
        assert_eq!(answer(200).authn(), None);
        assert_eq!(Answer { grpc: Some(16), ..answer(200) }.authn(), Some(Authn::Denied));
    }

    #[test]
    fn a_denial_is_the_policys_unless_the_callee_says_it_is_not() {
        let check = |answer: Answer<'static>, expect| assert_eq!(answer.policy_denial(), expect);
        check(Answer { details: Some("rbac_access_denied_matched_policy[none]"), ..answer(403) }, Some(None));
        let named = "rbac_access_denied_matched_policy[ns[pay]-policy[deny-cart]-rule[0]]";
        check(
            Answer { details: Some(named), ..answer(403) },
            Some(Some("ns[pay]-policy[deny-cart]-rule[0]")),
        );
        check(Answer { details: Some("via_upstream"), ..answer(403) }, None);
        check(Answer { details: Some("via_upstream"), is_callers: true, ..answer(403) }, Some(None));
        check(answer(403), Some(None));
        check(Answer { flags: Some("UAEX"), ..answer(500) }, Some(None));
        check(answer(200), None);
    }

    #[test]
    fn a_tls_failure_has_its_kind() {
        let check = |reason: &str, expect: Option<&str>| assert_eq!(tls_failure(reason), expect, "{reason}");
        let verify = "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_";
        check(
            &format!("{verify}X509_verify_cert:_certificate_has_expired:TLS_error_end"),
            Some("failed:expired"),
        );
        check(
            &format!("{verify}SAN_matcher,_certificate_SANs_are_[spiffe://p/ns/u/sa/s]:TLS_error_end"),
            Some("failed:san_mismatch"),
        );
        check(
            &format!("{verify}unable_to_get_local_issuer_certificate:TLS_error_end"),
            Some("failed:untrusted"),
        );
        check(
            "remote_connection_failure|TLS_error:|268436501:SSL_routines:OPENSSL_internal:SSLV3_ALERT_CERTIFICATE_EXPIRED:TLS_error_end",
            Some("failed:expired"),
        );
        check(
            "TLS_error:|268436502:SSL_routines:OPENSSL_internal:SSLV3_ALERT_CERTIFICATE_UNKNOWN:TLS_error_end",
            Some("failed:untrusted"),
        );
        check(
            "TLS error: 268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER",
            Some("failed:handshake"),
        );
        check(
            "TLS_error:|268435650:SSL_routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE:TLS_error_end",
            Some("failed:no_certificate"),
        );
        check(
            "TLS_error:|1:SSL_routines:OPENSSL_internal:INTERNAL_ERROR:TLS_error_end",
            Some("failed:other"),
        );
        check("delayed_connect_error:_Connection_refused", None);
    }

    #[test]
    fn grpc_statuses_are_numbers_or_names() {
        for (text, expect) in [
            ("0", Some(0)),
            ("16", Some(16)),
            ("17", None),
            ("DEADLINE_EXCEEDED", Some(4)),
            ("NotFound", Some(5)),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(grpc_status(text), expect, "{text}");
        }
    }
}
