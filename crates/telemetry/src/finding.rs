//! What we claim, and the evidence for it.

use std::fmt::Write;

use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::{EventTime, FindingKind, Pair, Signal};

/// A claim about a pair: one condition, from opening to closing, in numbered revisions.
///
/// Serialises to the flat JSON object that outside tools rely on: times are RFC 3339, absent values null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable over replays, restarts and machines: see [`Finding::make_id`].
    pub id: String,
    /// Counts from 1; each published change adds one.
    pub revision: u32,
    /// Where in its life this revision stands.
    pub state: FindingState,
    /// What it is about.
    pub kind: FindingKind,
    /// The detector that made it, for example `volume`.
    pub detector: String,
    /// How much it should matter to a reader.
    pub severity: Severity,
    /// How unusual the observation is, 0 to 1: one minus its probability under the baseline, or the
    /// detector's own scale as its documentation says.
    pub score: f64,
    /// How much history the judgement rests on, 0 (none) to 1 (ample).
    pub confidence: f64,
    /// The cluster of the pair.
    pub cluster: String,
    /// Calling service, `namespace/service`.
    pub source: Option<String>,
    /// Called service; `None` where the finding is about the source alone.
    pub destination: Option<String>,
    /// Which record the numbers rest on.
    pub signal: Option<Signal>,
    /// Start of the window that this revision rests on, inclusive.
    #[serde(serialize_with = "rfc3339", deserialize_with = "from_rfc3339")]
    pub window_start: EventTime,
    /// End of that window, exclusive.
    #[serde(serialize_with = "rfc3339", deserialize_with = "from_rfc3339")]
    pub window_end: EventTime,
    /// Event time at which the first revision's window ended.
    #[serde(serialize_with = "rfc3339", deserialize_with = "from_rfc3339")]
    pub opened_at: EventTime,
    /// Event time at which the condition was found to be over; `None` while open.
    #[serde(serialize_with = "maybe_rfc3339", deserialize_with = "from_maybe_rfc3339")]
    pub closed_at: Option<EventTime>,
    /// What was seen, in `unit`.
    pub observed: f64,
    /// What the baseline expects, in `unit`.
    pub expected: f64,
    /// Lower end of what is usual, in `unit`; `None` where there is none.
    pub expected_low: Option<f64>,
    /// Upper end of what is usual, in `unit`; `None` where there is none.
    pub expected_high: Option<f64>,
    /// Unit of the numbers, for example `calls/10min`, `ms`, `%`.
    pub unit: String,
    /// One sentence with the numbers.
    pub explanation: String,
    /// At most five calls that show it.
    pub exemplars: Vec<Exemplar>,
    /// Joins findings of one cause: the id of the first of them; equal to `id` where a finding stands alone.
    pub incident: String,
    /// Services where the cause of the incident probably lies, as far as known at this revision; most probable
    /// first, at most three.
    #[serde(default)]
    pub origins: Vec<String>,
    /// lapwing's version and the hash of the detector settings that made this.
    pub made_by: String,
}

/// A call that shows what a finding claims. Already redacted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Exemplar {
    /// Hexadecimal trace id; `None` for records without one (TLS failures).
    pub trace_id: Option<String>,
    /// Hexadecimal span id.
    pub span_id: Option<String>,
    /// When the call started.
    #[serde(serialize_with = "rfc3339", deserialize_with = "from_rfc3339")]
    pub started_at: EventTime,
    /// How long it took.
    pub duration_ms: Option<u32>,
    /// HTTP status.
    pub status: Option<i16>,
    /// Method and path template.
    pub operation: Option<String>,
}

/// Where a finding stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingState {
    /// First revision.
    Open,
    /// The condition goes on or has grown.
    Update,
    /// The condition is over; no revision follows.
    Close,
}

/// How much a finding should matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words say it; the mapping to SIEM scales is in `siem`")]
pub enum Severity {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl Finding {
    /// The id of a finding that opens: `lw-` and the first 128 bits of SHA-256 over cluster, kind, source,
    /// destination and the start of the opening window, each followed by 0x1f.
    ///
    /// No wall clock, machine, offset or signal is in it, so the same calls give the same id live, in a
    /// replay and on another machine; the opening window is, so that two outages of a pair are two findings.
    pub fn make_id(kind: FindingKind, pair: &Pair, opening_window: EventTime) -> String {
        let mut hash = Sha256::new();
        for part in [&*pair.cluster, kind.as_str(), &*pair.source, &*pair.destination] {
            hash.update(part.as_bytes());
            hash.update([0x1f]);
        }
        hash.update(opening_window.0.to_be_bytes());
        hash.finalize()[..16].iter().fold(String::from("lw-"), |mut id, byte| {
            let _infallible = write!(id, "{byte:02x}");
            id
        })
    }

    /// The id of this revision: unique over everything ever published.
    pub fn event_id(&self) -> String {
        format!("{}.{}", self.id, self.revision)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn rfc3339<S: Serializer>(time: &EventTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn maybe_rfc3339<S: Serializer>(time: &Option<EventTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

fn from_rfc3339<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<EventTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    EventTime::parse_rfc3339(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 timestamp"))
}

fn from_maybe_rfc3339<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<EventTime>, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        None => Ok(None),
        Some(text) => EventTime::parse_rfc3339(&text)
            .map(Some)
            .ok_or_else(|| serde::de::Error::custom("not an RFC 3339 timestamp")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_depends_on_the_claim_and_nothing_else() {
        let pair = Pair::new("prod", "shop/cart", "data/orders");
        let id = Finding::make_id(FindingKind::NewPair, &pair, EventTime(1_772_410_107_000_000));
        assert_eq!(id, "lw-884f503393132ff99516b3beb5ce0862");
        let other = Finding::make_id(FindingKind::NewPair, &pair, EventTime(1_772_410_117_000_000));
        assert_ne!(id, other);
    }
}
