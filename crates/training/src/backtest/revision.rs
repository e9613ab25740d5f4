//! Findings as the scorer reads them: from the engine, or from a file of finding lines.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use lapwing_telemetry::{EventTime, Finding, FindingState};
use serde::{Deserialize, Deserializer};

use super::family::Named;

/// One revision of a finding: what the scorer needs of it. Reads the lines that lapwing writes, and those
/// of others that have these members.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Revision {
    /// The finding's id.
    pub id: String,
    /// Where in its life this revision stands; `None` is read as open.
    #[serde(default)]
    pub state: Option<FindingState>,
    /// What it is about.
    pub kind: String,
    /// The calling service.
    pub source: Option<String>,
    /// The called service; `None` where the finding is about the source alone.
    pub destination: Option<String>,
    /// Start of the window that this revision rests on.
    #[serde(deserialize_with = "moment")]
    pub window_start: EventTime,
    /// End of that window.
    #[serde(deserialize_with = "moment")]
    pub window_end: EventTime,
    /// When the finding was opened.
    #[serde(deserialize_with = "moment")]
    pub opened_at: EventTime,
    /// Joins findings of one cause; `None` is read as the id.
    #[serde(default)]
    pub incident: Option<String>,
}

impl From<&Finding> for Revision {
    fn from(finding: &Finding) -> Revision {
        Revision {
            id: finding.id.clone(),
            state: Some(finding.state),
            kind: finding.kind.as_str().to_owned(),
            source: finding.source.clone(),
            destination: finding.destination.clone(),
            window_start: finding.window_start,
            window_end: finding.window_end,
            opened_at: finding.opened_at,
            incident: Some(finding.incident.clone()),
        }
    }
}

/// What can be wrong with a file of findings. Both variants are `Rejected`: correct the file.
#[derive(Debug, thiserror::Error)]
pub enum RevisionsError {
    /// The file could not be read; check the path.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the machine said.
        source: io::Error,
    },
    /// A line is not a finding.
    #[error("{} line {line}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, without the line's content.
        problem: String,
    },
}

/// Reads a file with one revision of a finding per line, as `lapwing replay --findings` writes it.
pub fn load_revisions(path: &Path) -> Result<Vec<Revision>, RevisionsError> {
    let read = |source| RevisionsError::Read { path: path.to_owned(), source };
    let mut revisions = Vec::new();
    for (n, line) in BufReader::new(File::open(path).map_err(read)?).lines().enumerate() {
        let line = line.map_err(read)?;
        if line.trim().is_empty() {
            continue;
        }
        let malformed = |error: serde_json::Error| RevisionsError::Malformed {
            path: path.to_owned(),
            line: n + 1,
            problem: match error.classify() {
                serde_json::error::Category::Data => format!("not a finding, at column {}", error.column()),
                _ => format!("not JSON, at column {}", error.column()),
            },
        };
        revisions.push(serde_json::from_str(&line).map_err(malformed)?);
    }
    Ok(revisions)
}

/// A finding with all its revisions.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) named: Named,
    pub(super) source: Option<String>,
    pub(super) destination: Option<String>,
    pub(super) incident: String,
    pub(super) opened: EventTime,
    /// The end of the window that opened it.
    pub(super) first_window_end: EventTime,
    /// The last moment for which it was said to hold.
    pub(super) last: EventTime,
    /// The windows in which the condition was seen, which those of closing revisions are not.
    pub(super) windows: Vec<(EventTime, EventTime)>,
}

/// Gathers revisions into findings, in the order in which the findings first appear.
pub(super) fn gather(revisions: &[Revision]) -> Vec<Judged> {
    let mut findings: Vec<Judged> = Vec::new();
    let mut place: BTreeMap<&str, usize> = BTreeMap::new();
    for revision in revisions {
        let idx = *place.entry(&revision.id).or_insert(findings.len());
        if idx == findings.len() {
            findings.push(Judged {
                id: revision.id.clone(),
                kind: revision.kind.clone(),
                named: Named::read(&revision.kind),
                source: revision.source.as_deref().and_then(canonical),
                destination: revision.destination.as_deref().and_then(canonical),
                incident: match revision.incident.as_deref() {
                    None | Some("") => revision.id.clone(),
                    Some(incident) => incident.to_owned(),
                },
                opened: revision.opened_at,
                first_window_end: revision.window_end,
                last: revision.opened_at,
                windows: Vec::new(),
            });
        }
        let finding = &mut findings[idx];
        finding.opened = finding.opened.min(revision.opened_at);
        finding.last = finding.last.max(revision.window_end);
        if revision.state != Some(FindingState::Close) {
            finding.windows.push((revision.window_start, revision.window_end));
        }
    }
    findings
}

/// One spelling per service or identity: `namespace/name`. Reads `name.namespace`, `name.namespace.svc…`,
/// `spiffe://domain/ns/namespace/sa/name`, `ns/namespace/sa/name` and `sa:namespace/name`; anything else stays
/// as it is. `None` if there is nothing.
pub(super) fn canonical(name: &str) -> Option<String> {
    let name = name.trim();
    if name.is_empty() {
        return None;
    }
    if let Some((namespace, account)) = identity(name) {
        return Some(format!("{namespace}/{account}"));
    }
    let mut labels = name.split('.');
    match (name.contains('/'), labels.next(), labels.next()) {
        (false, Some(service), Some(namespace)) => Some(format!("{namespace}/{service}")),
        _ => Some(name.to_owned()),
    }
}

fn identity(name: &str) -> Option<(&str, &str)> {
    if let Some(account) = name.strip_prefix("sa:") {
        return account
            .split_once('/')
            .filter(|(namespace, account)| !namespace.is_empty() && !account.is_empty());
    }
    let path = match name.strip_prefix("spiffe://") {
        Some(rest) => rest.split_once('/').filter(|(domain, _)| !domain.is_empty())?.1,
        None => name,
    };
    let (namespace, account) = path.strip_prefix("ns/")?.split_once("/sa/")?;
    let plain = |text: &str| !text.is_empty() && !text.contains('/');
    (plain(namespace) && plain(account)).then_some((namespace, account))
}

/// RFC 3339, or seconds since the epoch as a number or as text.
fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EventTime, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Moment {
        Seconds(f64),
        Text(String),
    }
    let seconds = |seconds: f64| EventTime((seconds * 1e6).round() as i64);
    match Moment::deserialize(deserializer)? {
        Moment::Seconds(number) => Ok(seconds(number)),
        Moment::Text(text) => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(seconds(number)),
            _ => EventTime::parse_rfc3339(&text).ok_or_else(|| serde::de::Error::custom("not a moment")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_and_identities_have_one_spelling() {
        let cases = [
            ("shop/cart", "shop/cart"),
            ("cart.shop", "shop/cart"),
            ("cart.shop.svc.cluster.local", "shop/cart"),
            ("spiffe://cluster.local/ns/shop/sa/cart", "shop/cart"),
            ("ns/shop/sa/cart", "shop/cart"),
            ("sa:shop/cart", "shop/cart"),
            ("spiffe://other/path", "spiffe://other/path"),
            (" cart ", "cart"),
        ];
        for (name, expected) in cases {
            assert_eq!(canonical(name).as_deref(), Some(expected), "{name}");
        }
        assert_eq!(canonical("  "), None);
    }

    #[test]
    fn a_line_is_read_with_times_in_either_spelling_and_an_error_shows_nothing_of_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let line = |opened: &str, id: &str| {
            format!(
                r#"{{"id": {id}, "revision": 1, "state": "open", "kind": "silence", "source": "a.b", "destination": null,
                "window_start": "2026-03-10T10:00:00Z", "window_end": 1773137400, "opened_at": {opened}}}"#
            )
            .replace('\n', " ")
        };
        let good = [
            line("\"2026-03-10T10:10:00.123456Z\"", "\"x\""),
            String::new(),
            line("\"1773137400.5\"", "\"x\""),
        ];
        std::fs::write(file.path(), good.join("\n")).unwrap();
        let revisions = load_revisions(file.path()).unwrap();
        assert_eq!(revisions[0].opened_at.to_string(), "2026-03-10T10:10:00.123456Z");
        assert_eq!(revisions[0].window_end.to_string(), "2026-03-10T10:10:00.000000Z");
        assert_eq!(revisions[1].opened_at.to_string(), "2026-03-10T10:10:00.500000Z");

        for bad in [line("\"alice\"", "\"x\""), line("3", "alice")] {
            std::fs::write(file.path(), format!("{}\n{bad}\n", good[0])).unwrap();
            let error = load_revisions(file.path()).unwrap_err();
            assert!(error.to_string().contains("line 2: not "), "{error}");
            assert!(!format!("{error:?}").contains("alice"));
        }
    }
}
