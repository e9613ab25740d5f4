//! Targets that are spoken to over HTTP.
//!
//! ```text
//!   findings ──► Dialect::part ──► requests of at most `max_request_bytes` ──► Client ──► target
//!                                          Dialect::judge ◄── answer ──┘
//! ```
//!
//! The one design decision: what targets have in common (one connection, TLS, credentials, compression,
//! size limits, what a status code means, splitting) is in [`HttpSink`]; a [`Dialect`] is what one target
//! makes of findings and of an answer, and does no I/O.

mod auth;
mod client;
mod sink;

use std::time::Duration;

use http::Uri;

pub use auth::{Auth, OAuth2};
pub(crate) use client::{Answer, Request};
pub use sink::HttpSink;
pub(crate) use sink::{Dialect, Step, Verdict};

use crate::secret::Secret;
use crate::tls::TlsSettings;

/// Where an HTTP target is and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// The sink's name.
    pub name: String,
    /// The target.
    pub url: Url,
    /// Certificates; used with `https` alone.
    pub tls: TlsSettings,
    /// How we show who we are.
    pub auth: Auth,
    /// Further headers.
    pub headers: Vec<(String, Secret)>,
    /// Whether bodies are compressed with gzip.
    pub gzip: bool,
    /// Longest time for a connection to come about, TLS included.
    pub connect_timeout: Duration,
    /// Longest time from sending a request to the end of its answer.
    pub request_timeout: Duration,
    /// Largest body before compression; more findings go in a further request, and a finding that is larger
    /// by itself is rejected.
    pub max_request_bytes: usize,
}

impl HttpSettings {
    /// The settings for `url` with the defaults of the documentation.
    pub fn new(name: impl Into<String>, url: Url) -> HttpSettings {
        HttpSettings {
            name: name.into(),
            url,
            tls: TlsSettings::default(),
            auth: Auth::None,
            headers: Vec::new(),
            gzip: true,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            max_request_bytes: 1 << 20,
        }
    }
}

/// An `http` or `https` address.
///
/// Shown without its path and query, which may hold a credential (chat systems' webhooks do).
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    secure: bool,
    host: String,
    port: u16,
    /// Path and query, without a slash at the end of the path.
    path: String,
    query: Option<String>,
}

impl Url {
    /// Reads an address.
    ///
    /// # Errors
    /// Says what is wrong with it, without repeating it.
    pub fn parse(text: &str) -> Result<Url, String> {
        let uri: Uri = text.parse().map_err(|_malformed| "not a URL".to_owned())?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("not a URL that begins with `http://` or `https://`".to_owned()),
        };
        let authority = uri.authority().ok_or("a URL without a host")?;
        if authority.as_str().contains('@') {
            return Err("a URL with a user name in it; credentials have keys of their own".to_owned());
        }
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok(Url {
            secure,
            host: authority.host().to_owned(),
            port,
            path: uri.path().trim_end_matches('/').to_owned(),
            query: uri.query().map(str::to_owned),
        })
    }

    /// This address with `suffix` after its path, unless the path ends so already.
    #[must_use]
    pub fn ending(mut self, suffix: &str) -> Url {
        if !self.path.ends_with(suffix) {
            self.path.push_str(suffix);
        }
        self
    }

    /// Whether it is `https`.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host without brackets, as a certificate or a resolver wants it.
    fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Path and query, with `suffix` after the path and `more` after the query.
    fn target(&self, suffix: &str, more: &str) -> String {
        let path = format!("{}{suffix}", self.path);
        let path = if path.is_empty() { "/" } else { &path };
        match (&self.query, more) {
            (None, "") => path.to_owned(),
            (None, more) => format!("{path}?{more}"),
            (Some(query), "") => format!("{path}?{query}"),
            (Some(query), more) => format!("{path}?{query}&{more}"),
        }
    }

    fn authority(&self) -> String {
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            _ => format!("{}:{}", self.host, self.port),
        }
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}/…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_shown_without_its_path() {
        let url = Url::parse("https://splunk.example:8088/services/collector/?x=1").unwrap();
        assert_eq!(url.to_string(), "https://splunk.example:8088");
        assert_eq!(url.target("", "y=2"), "/services/collector?x=1&y=2");
        assert_eq!(url.target("/ack", ""), "/services/collector/ack?x=1");
        assert_eq!(
            url.clone().ending("/event").ending("/event").target("", ""),
            "/services/collector/event?x=1"
        );
        assert!(!format!("{url:?}").contains("services"));
        let plain = Url::parse("http://[::1]").unwrap();
        assert_eq!((plain.host(), plain.port, plain.target("", "")), ("::1", 80, "/".to_owned()));
        for (bad, why) in [
            ("splunk:8088", "begins with"),
            ("ftp://a/b", "begins with"),
            ("https://me:hunter2@a/", "user name"),
            ("https://a b/", "not a URL"),
        ] {
            let error = Url::parse(bad).unwrap_err();
            assert!(error.contains(why) && !error.contains("hunter2"), "{bad}: {error}");
        }
    }
}
