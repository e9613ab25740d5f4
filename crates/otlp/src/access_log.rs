//! Reads an access log that comes as the body of a log record, with no attributes to go by.
//!
//! - Istio's default text line, which its stock `envoyOtelAls` provider sends:
//!   <https://istio.io/latest/docs/tasks/observability/logs/access-log/#default-access-log-format>
//! - a JSON object: Istio's and Consul's `encoding: JSON`, Linkerd's `--set proxy.accessLog=json`.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Names of the text line's fields between its quoted parts, in order.
const LEFT: [&str; 4] =
    ["response_code", "response_flags", "response_code_details", "connection_termination_details"];
const MIDDLE: [&str; 4] = ["bytes_received", "bytes_sent", "duration", "upstream_service_time"];
const QUOTED: [&str; 5] = ["x_forwarded_for", "user_agent", "request_id", "authority", "upstream_host"];
const RIGHT: [&str; 6] = [
    "upstream_cluster",
    "upstream_local_address",
    "downstream_local_address",
    "downstream_remote_address",
    "requested_server_name",
    "route_name",
];

/// Reads Istio's default text line and hands each field to `field` under its label's name. Returns whether
/// every character of the line was accounted for; if not, the fields that were given are still right.
/// `None` if the text is not such a line.
///
/// Envoy writes header values as they came, quotes included, so a client could try to write fields of its
/// own. What lies left and right of the headers is therefore read from its own end of the line, and headers
/// with quotes in them are not told apart.
pub fn read_text<'a>(line: &'a str, mut field: impl FnMut(&'static str, &'a str)) -> Option<bool> {
    let line = line.trim_end();
    let (start_time, rest) = line.strip_prefix('[')?.split_once("] \"")?;
    // A request line has no spaces but its own two, so its quote is the first that a space follows.
    let (request, rest) = rest.split_once("\" ")?;
    let (method, request) = request.split_once(' ')?;
    let (path, protocol) = request.rsplit_once(' ')?;
    let (left, rest) = words::<{ LEFT.len() }>(rest)?;
    let (failure, rest) = rest.strip_prefix('"')?.split_once("\" ")?;
    let (middle, rest) = words::<{ MIDDLE.len() }>(rest)?;
    let (right, quoted) = words_from_right::<{ RIGHT.len() }>(rest)?;
    let quoted = quoted.strip_prefix('"')?.strip_suffix('"')?;

    left.first().filter(|code| !code.is_empty() && code.bytes().all(|b| b.is_ascii_digit()))?;
    field("start_time", start_time);
    field("method", method);
    field("path", path);
    field("protocol", protocol);
    field("upstream_transport_failure_reason", failure);
    for (names, values) in [(&LEFT[..], &left[..]), (&MIDDLE, &middle), (&RIGHT, &right)] {
        names.iter().zip(values).for_each(|(name, value)| field(name, value));
    }
    let is_whole = quoted.matches("\" \"").count() == QUOTED.len() - 1;
    if is_whole {
        QUOTED.iter().zip(quoted.split("\" \"")).for_each(|(name, value)| field(name, value));
    } else {
        field("upstream_host", quoted.rsplit_once("\" \"").map_or("", |(_, host)| host));
    }
    Some(is_whole)
}

/// The first `N` words of a line, and what follows them.
fn words<const N: usize>(mut rest: &str) -> Option<([&str; N], &str)> {
    let mut words = [""; N];
    for word in &mut words {
        (*word, rest) = rest.split_once(' ')?;
    }
    Some((words, rest))
}

/// The last `N` words of a line, and what precedes them.
fn words_from_right<const N: usize>(mut rest: &str) -> Option<([&str; N], &str)> {
    let mut words = [""; N];
    for word in words.iter_mut().rev() {
        (rest, *word) = rest.rsplit_once(' ')?;
    }
    Some((words, rest))
}

/// Reads a JSON object and hands each member to `member`: the name, and the value, a string as it is and
/// anything else as JSON. Members that are null are left out. `None` if the text is not one JSON object;
/// members may have been handed out before that was seen.
pub fn read_json<'a>(text: &'a str, member: impl FnMut(Cow<'a, str>, Cow<'a, str>)) -> Option<()> {
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_map(Members(member)).ok()?;
    json.end().ok()
}

struct Members<F>(F);

impl<'a, F: FnMut(Cow<'a, str>, Cow<'a, str>)> Visitor<'a> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(Unescaped(name)) = map.next_key()? {
            let value = map.next_value::<&'a RawValue>()?.get();
            match value.as_bytes() {
                b"null" => {}
                [b'"', ..] => {
                    let Unescaped(value) = serde_json::from_str(value).map_err(serde::de::Error::custom)?;
                    (self.0)(name, value);
                }
                _ => (self.0)(name, Cow::Borrowed(value)),
            }
        }
        Ok(())
    }
}

/// A string, borrowed where the text has no escapes in it.
#[derive(Deserialize)]
struct Unescaped<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "[2026-11-22T01:23:28.454Z] \"GET /export?since=10 HTTP/1.1\" 200 - via_upstream - \"-\" 0 18372 25 23 \"-\" \"reporting/2.4.1 aiohttp\" \"f34c7aee-b676-99cc-b6ff-446da56358fa\" \"ledger.pay.svc.cluster.local:8080\" \"127.31.2.12:8080\" outbound|8080||ledger.pay.svc.cluster.local 127.31.5.11:55218 127.31.5.11:15001 127.31.5.11:49261 - default\n";

    fn text(line: &str) -> Option<(bool, Vec<(&str, &str)>)> {
        let mut fields = Vec::new();
        let whole = read_text(line, |name, value| fields.push((name, value)))?;
        Some((whole, fields))
    }

    fn value<'a>(fields: &[(&'a str, &'a str)], name: &str) -> Option<&'a str> {
        fields.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }

    #[test]
    fn every_field_of_istios_line_is_read() {
        let (whole, fields) = text(LINE).unwrap();
        assert!(whole);
        let expect = [
            ("start_time", "2026-11-22T01:23:28.454Z"),
            ("method", "GET"),
            ("path", "/export?since=10"),
            ("protocol", "HTTP/1.1"),
            ("upstream_transport_failure_reason", "-"),
            ("response_code", "200"),
            ("response_flags", "-"),
            ("response_code_details", "via_upstream"),
            ("connection_termination_details", "-"),
            ("bytes_received", "0"),
            ("bytes_sent", "18372"),
            ("duration", "25"),
            ("upstream_service_time", "23"),
            ("upstream_cluster", "outbound|8080||ledger.pay.svc.cluster.local"),
            ("upstream_local_address", "127.31.5.11:55218"),
            ("downstream_local_address", "127.31.5.11:15001"),
            ("downstream_remote_address", "127.31.5.11:49261"),
            ("requested_server_name", "-"),
            ("route_name", "default"),
            ("x_forwarded_for", "-"),
            ("user_agent", "reporting/2.4.1 aiohttp"),
            ("request_id", "f34c7aee-b676-99cc-b6ff-446da56358fa"),
            ("authority", "ledger.pay.svc.cluster.local:8080"),
            ("upstream_host", "127.31.2.12:8080"),
        ];
        assert_eq!(fields, expect);
    }

    #[test]
    fn a_failed_connections_line_is_read() {
        let line = "[2026-11-22T01:26:27.179Z] \"- - -\" 0 - - - \"-\" 0 0 0 - \"-\" \"-\" \"-\" \"-\" \"-\" - - 127.31.1.13:8080 127.31.1.11:49128 outbound_.8080_._.checkout.shop.svc.cluster.local -";
        let (whole, fields) = text(line).unwrap();
        assert!(whole);
        assert_eq!(value(&fields, "response_code"), Some("0"));
        assert_eq!(value(&fields, "downstream_remote_address"), Some("127.31.1.11:49128"));
    }

    #[test]
    fn a_user_agent_cannot_write_fields_of_its_own() {
        let forged = "x\" \"id\" \"victim.pay.svc.cluster.local\" \"6.6.6.6:1\" outbound|1||victim.pay.svc.cluster.local 1.1.1.1:1 2.2.2.2:2 3.3.3.3:3 - y";
        let line = LINE.replace("reporting/2.4.1 aiohttp", forged);
        let (whole, fields) = text(&line).unwrap();
        assert!(!whole, "headers with quotes in them are not told apart");
        assert_eq!(value(&fields, "upstream_cluster"), Some("outbound|8080||ledger.pay.svc.cluster.local"));
        assert_eq!(value(&fields, "upstream_host"), Some("127.31.2.12:8080"));
        assert_eq!(value(&fields, "authority"), None);
        let server_name = "a 1 2 3 outbound|1||victim.pay.svc.cluster.local 1.1.1.1:1 2.2.2.2:2 3.3.3.3:3 b";
        assert_eq!(text(&LINE.replace("49261 - default", &format!("49261 {server_name} default"))), None);
    }

    #[test]
    fn other_texts_are_not_access_logs() {
        for line in [
            "",
            "[",
            "GET 200",
            "[x] \"y",
            "[2026] \"GET / HTTP/1.1\" 200 -",
            "[a] \"b c d\" e f g h \"i\" j k l m \"n\" o",
        ] {
            assert_eq!(text(line), None, "{line}");
        }
        for (cut, _) in LINE.char_indices() {
            assert!(text(&LINE[..cut]).is_none_or(|(_, fields)| fields.len() > 15), "cut at {cut}");
        }
    }

    #[test]
    fn members_of_a_json_line_are_read() {
        let line = r#"{"method":"GET","path":"/a\"b","response_code":200,"upstream_service_time":null,"x":{"y":[1]},"é\n":true}"#;
        let mut members = Vec::new();
        read_json(line, |name, value| members.push((name.into_owned(), value.into_owned()))).unwrap();
        let pairs: Vec<_> = members.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("method", "GET"),
                ("path", "/a\"b"),
                ("response_code", "200"),
                ("x", "{\"y\":[1]}"),
                ("é\n", "true")
            ]
        );
        for text in ["", "{", "[]", "{} x", "{\"a\":}", "\"a\""] {
            assert_eq!(read_json(text, |_, _| ()), None, "{text}");
        }
    }
}
