//! What the name of an attribute decides before its value is looked at.

use std::collections::HashSet;

use regex::bytes::Regex;

use crate::classes::LONG;
use crate::decode::may_spell;
use crate::keys::{Keys, Meaning, Shape, is_technical};
use crate::kinds::FieldKind;
use crate::scan::Field;

/// How values under a name are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldClass {
    /// Values are left alone as long as they look technical.
    pub(crate) skip: bool,
    pub(crate) field: Field,
    /// The number of what holds there.
    pub(crate) scope: u16,
    pub(crate) kind: FieldKind,
    /// Whether values go whatever they are.
    pub(crate) drop: bool,
}

impl FieldClass {
    /// A number that tells apart classes in which one text may be judged differently.
    pub(crate) fn code(self) -> u64 {
        let meaning = self.field.meaning.map_or(0, |m| (u64::from(m.rule) + 1) << 8 | (m.shape as u64) << 4);
        let flags = u64::from(self.skip) | u64::from(self.field.technical) << 1;
        u64::from(self.scope) << 32 | meaning | flags
    }
}

/// Names that rule files add.
pub(crate) struct Fields {
    never_scan: HashSet<String>,
    patterns: Vec<(Regex, u16)>,
}

impl Fields {
    pub(crate) fn new(never_scan: &[String], patterns: Vec<(Regex, u16)>) -> Fields {
        Fields { never_scan: never_scan.iter().map(|n| n.to_ascii_lowercase()).collect(), patterns }
    }

    /// Whether values under `name` are left alone as long as they look technical, and what the name says of
    /// them, by rules for which `on` is true.
    pub(crate) fn judge(&self, name: &str, keys: &Keys, on: impl Fn(u16) -> bool) -> (bool, Field) {
        let by_pattern = |(pattern, rule): &&(Regex, u16)| on(*rule) && pattern.is_match(name.as_bytes());
        if let Some((_, rule)) = self.patterns.iter().find(by_pattern) {
            let meaning = Some(Meaning::of_file(*rule));
            return (false, Field { meaning, technical: false });
        }
        let lower = name.to_ascii_lowercase();
        if self.never_scan.contains(&lower) {
            return (true, Field::default());
        }
        let bare = lower.strip_prefix("resource.").unwrap_or(&lower);
        let meaning = keys.meaning(name.as_bytes()).filter(|m| m.shape != Shape::BareName && on(m.rule));
        let skip = meaning.is_none_or(super::keys::Meaning::is_built_in) && is_structural(bare);
        let meaning = if skip { None } else { meaning };
        (skip, Field { meaning, technical: is_technical(name.as_bytes()) })
    }
}

/// Whether attributes of this name hold what the mesh, the cluster or the SDK wrote, and detection joins by:
/// ids, names of workloads, enums, times, sizes. Names: OpenTelemetry semantic conventions, Envoy's access
/// log operators, Istio's and Linkerd's tags.
fn is_structural(name: &str) -> bool {
    const PREFIXES: &[&str] = &[
        "k8s.",
        "service.",
        "telemetry.",
        "container.id",
        "container.image",
        "container.name",
        "cloud.",
        "istio.",
        "otel.",
        "deployment.environment",
        "faas.",
        "aws.ecs.",
        "gcp.",
        "azure.",
        "network.protocol",
        "rpc.system",
        "rpc.service",
        "rpc.method",
        "rpc.grpc.status",
        "messaging.system",
        "messaging.operation",
        "db.system",
        "db.operation",
        "db.collection",
        "db.namespace",
        "upstream_cluster",
        "downstream_cluster",
        "downstream_tls",
        "upstream_tls",
        "response_code",
        "response_flags",
        "connection_termination",
        "os.type",
        "linkerd.",
        "consul.",
    ];
    const NAMES: &[&str] = &[
        "authority",
        "bytes_received",
        "bytes_sent",
        "component",
        "downstream_local_uri_san",
        "downstream_peer_uri_san",
        "duration",
        "error.type",
        "flags",
        "guid:x-request-id",
        "http.flavor",
        "http.method",
        "http.protocol",
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "http.scheme",
        "http.status_code",
        "kind",
        "log_name",
        "method",
        "node_id",
        "parent_span_id",
        "protocol",
        "request_id",
        "request_size",
        "requested_server_name",
        "response_size",
        "route_name",
        "scheme",
        "scope.name",
        "scope.version",
        "severity",
        "severity_number",
        "severity_text",
        "span.kind",
        "span_id",
        "start_time",
        "status",
        "status.code",
        "status_code",
        "trace_id",
        "traceid",
        "spanid",
        "traceparent",
        "upstream_host",
        "upstream_local_uri_san",
        "upstream_peer_uri_san",
        "upstream_request_attempt_count",
        "upstream_service_time",
        "url.scheme",
        "x-b3-spanid",
        "x-b3-traceid",
        "x-request-id",
        "x_request_id",
        "zone",
        "server.port",
        "client.port",
        "network.peer.port",
        "net.peer.port",
        "thread.id",
        "thread.name",
        "span.trace_state",
        "http.request.body.size",
        "http.response.body.size",
        "http.request.header.x-request-id",
        "http.request_content_length",
        "http.response_content_length",
        "request_duration",
        "response_duration",
        "request_tx_duration",
    ];
    NAMES.contains(&name) || PREFIXES.iter().any(|p| name.starts_with(p))
}

/// Whether a value has only what ids, names, enums, times and sizes are written with. Anything else is
/// scanned even under a structural name: a caller may choose its own `x-request-id`.
pub(crate) fn looks_technical(value: &str) -> bool {
    let bytes = value.as_bytes();
    let (mut digits, mut run) = (0, 0);
    bytes.len() <= 256
        && bytes.iter().enumerate().all(|(i, b)| {
            let kind = TECHNICAL[usize::from(*b)];
            digits = if kind == 2 { digits + 1 } else { 0 };
            run = if kind >= 2 { run + 1 } else { 0 };
            // Card numbers have twelve digits or more, and no status, port, size or duration in ms has. What may be
            // text in base64 or hexadecimal digits is read.
            kind != 0 && digits < 12 && (run != LONG || !may_spell(&bytes[i + 1 - LONG..]))
        })
}

/// What technical values are written with: 1, digits: 2, letters: 3.
const TECHNICAL: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'0'..=b'9' => 2,
            b'a'..=b'z' | b'A'..=b'Z' => 3,
            b'-' | b'_' | b'.' | b':' | b'/' | b'|' | b'*' | b',' | b'~' | b'+' | b';' => 1,
            b'<' | b'>' | b'(' | b')' | b'[' | b']' | b' ' => 1,
            _ => 0,
        };
        byte += 1;
    }
    kinds
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::Rule;

    fn class(name: &str) -> (bool, Field) {
        Fields::new(&["Build.Id".to_owned()], Vec::new()).judge(name, &Keys::builtin(0), |_| true)
    }

    #[test]
    fn structural_names_are_skipped() {
        for name in [
            "k8s.pod.name",
            "resource.k8s.pod.ip",
            "request_id",
            "upstream_cluster.name",
            "http.status_code",
            "build.id",
        ] {
            assert!(class(name).0, "{name}");
        }
        for name in [
            "path",
            "http.url",
            "body",
            "user_agent",
            "x_forwarded_for",
            "enduser.id",
            "http.request.header.cookie",
        ] {
            assert!(!class(name).0, "{name}");
        }
    }

    #[test]
    fn sensitive_names_keep_their_meaning() {
        assert_eq!(
            class("http.request.header.authorization").1.meaning.map(|m| m.rule),
            Some(Rule::Authorization.id())
        );
        assert_eq!(class("resource.user.email").1.meaning.map(|m| m.rule), Some(Rule::Email.id()));
        assert_eq!(class("name").1.meaning, None, "the span's name is text");
    }

    #[test]
    fn a_structural_name_does_not_hide_an_odd_value() {
        for value in [
            "0a9ace44-cdd1-9cf7-a040-f077cdf308fa",
            "outbound|8080||cart.shop.svc",
            "200",
            "-",
            "2026-11-22T01:23:27.403Z",
        ] {
            assert!(looks_technical(value), "{value}");
        }
        for value in [
            "ann@example.org",
            "a=b",
            "4111111111111111",
            "x%40y",
            "Zoë",
            "YW5uQGV4YW1wbGUub3Jn",
            "id-YW5uQGV4YW1wbGUub3Jn",
        ] {
            assert!(!looks_technical(value), "{value}");
        }
    }
}
