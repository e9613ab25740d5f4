//! What kind of field a value stands in: policies are scoped by it, and counters told apart.

use serde::Deserialize;

/// A kind of field, by the name of the attribute or column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum FieldKind {
    /// Text outside calls, as `lapwing redact` reads it.
    #[default]
    Text,
    /// URLs and their parts, the column `path` included.
    Url,
    /// Headers of requests and responses, the user agent included.
    Header,
    /// Bodies and messages, of log records too.
    Body,
    /// Statements of databases and their parameters.
    Sql,
    /// Exceptions, stack traces and the texts of errors.
    Error,
    /// Addresses of clients and peers.
    Address,
    /// What OpenTelemetry puts under `user.` and `enduser.`.
    User,
    /// Attributes of the resource that sent the call.
    Resource,
    /// The column `operation`: what a call does.
    Operation,
    /// The columns with verified identities.
    Identity,
    /// Names of attributes: a map may be keyed by personal data.
    Name,
    /// Any other attribute or column.
    Attribute,
}

/// Kinds there are.
pub(crate) const KINDS: usize = 13;

impl FieldKind {
    pub(crate) const ALL: [FieldKind; KINDS] = [
        FieldKind::Text,
        FieldKind::Url,
        FieldKind::Header,
        FieldKind::Body,
        FieldKind::Sql,
        FieldKind::Error,
        FieldKind::Address,
        FieldKind::User,
        FieldKind::Resource,
        FieldKind::Operation,
        FieldKind::Identity,
        FieldKind::Name,
        FieldKind::Attribute,
    ];

    /// The word for it in rule files and counters.
    pub fn word(self) -> &'static str {
        match self {
            FieldKind::Text => "text",
            FieldKind::Url => "url",
            FieldKind::Header => "header",
            FieldKind::Body => "body",
            FieldKind::Sql => "sql",
            FieldKind::Error => "error",
            FieldKind::Address => "address",
            FieldKind::User => "user",
            FieldKind::Resource => "resource",
            FieldKind::Operation => "operation",
            FieldKind::Identity => "identity",
            FieldKind::Name => "name",
            FieldKind::Attribute => "attribute",
        }
    }

    pub(crate) fn bit(self) -> u16 {
        1 << self as u8
    }

    /// The kind of a column of calls.
    pub(crate) fn of_column(name: &str) -> FieldKind {
        match name {
            "path" => FieldKind::Url,
            "operation" => FieldKind::Operation,
            "source_identity" | "destination_identity" => FieldKind::Identity,
            _ => FieldKind::Attribute,
        }
    }

    /// The kind of an attribute, by its name. Names: OpenTelemetry semantic conventions, Envoy's access log
    /// operators, and what proxies call headers.
    pub(crate) fn of_attribute(name: &str) -> FieldKind {
        let name = name.to_ascii_lowercase();
        if name.starts_with("resource.") {
            return FieldKind::Resource;
        }
        let first = name.split('.').next().unwrap_or_default();
        let last = name.rsplit('.').next().unwrap_or_default();
        let is = |list: &[&str]| list.contains(&name.as_str());
        if name.contains("request.header.")
            || name.contains("response.header.")
            || name.contains("request.metadata.")
            || name.contains("response.metadata.")
            || name.starts_with("x-")
            || name.starts_with("x_")
            || first == "user_agent"
            || is(HEADERS)
        {
            FieldKind::Header
        } else if is(&["db.statement", "statement", "sql"])
            || name.starts_with("db.query")
            || name.starts_with("db.redis.")
            || last == "sql"
        {
            FieldKind::Sql
        } else if first == "exception" || first == "error" || matches!(last, "stacktrace" | "stack_trace") {
            FieldKind::Error
        } else if matches!(first, "body" | "message" | "payload")
            || matches!(last, "body" | "payload")
            || name.starts_with("gen_ai.")
                && matches!(last, "messages" | "content" | "prompt" | "completion" | "instructions")
        {
            FieldKind::Body
        } else if first == "url"
            || is(&["http.url", "http.target", "http.path", "http.route", "path", "uri"])
            || matches!(last, "url" | "uri" | "path" | "query")
        {
            FieldKind::Url
        } else if matches!(first, "enduser" | "user") {
            FieldKind::User
        } else if matches!(first, "client" | "net" | "network" | "source" | "destination")
            || name.ends_with("_address")
            || name.ends_with("_ip")
            || matches!(last, "ip" | "address" | "client_ip")
        {
            FieldKind::Address
        } else {
            FieldKind::Attribute
        }
    }
}

/// Headers that proxies record under their own names.
const HEADERS: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "referer",
    "forwarded",
    "http.user_agent",
    "user-agent",
    "http.referer",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_the_names_that_senders_use() {
        for (name, kind) in [
            ("http.request.header.cookie", FieldKind::Header),
            ("HTTP.Request.Header.X-Api-Key", FieldKind::Header),
            ("x_forwarded_for", FieldKind::Header),
            ("user_agent", FieldKind::Header),
            ("user_agent.original", FieldKind::Header),
            ("db.statement", FieldKind::Sql),
            ("db.query.parameter.0", FieldKind::Sql),
            ("exception.stacktrace", FieldKind::Error),
            ("error.message", FieldKind::Error),
            ("body", FieldKind::Body),
            ("body.user", FieldKind::Body),
            ("http.request.body", FieldKind::Body),
            ("gen_ai.input.messages", FieldKind::Body),
            ("url.full", FieldKind::Url),
            ("http.target", FieldKind::Url),
            ("path", FieldKind::Url),
            ("enduser.id", FieldKind::User),
            ("client.address", FieldKind::Address),
            ("downstream_remote_address", FieldKind::Address),
            ("resource.user.email", FieldKind::Resource),
            ("app.order", FieldKind::Attribute),
        ] {
            assert_eq!(FieldKind::of_attribute(name), kind, "{name}");
        }
    }

    #[test]
    fn each_kind_has_its_place() {
        for (index, kind) in FieldKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, index);
        }
        let words: std::collections::BTreeSet<_> = FieldKind::ALL.iter().map(|k| k.word()).collect();
        assert_eq!(words.len(), KINDS);
    }
}
