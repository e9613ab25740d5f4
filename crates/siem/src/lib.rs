//! A [`Finding`] in a SIEM's format, delivered.
//!
//! ```text
//!   detect ──► SpooledSink ──append, fdatasync──► spool on disk ──► deliver() ──► any FindingSink
//!                  (one per target)                (cursor)       (pause, breaker,  (HTTP, syslog,
//!                                                                  dead letters)     Kafka)
//!   detect ──► FileSink, StdoutSink                (nothing between: the target is local)
//! ```
//!
//! The one design decision: formats are pure functions of a finding, and **delivery has a disk between
//! detection and every remote target**, one spool with one cursor each. A dead target therefore delays
//! neither detection nor another target, and a restart on the night of an outage loses nothing. What it
//! costs: one `fdatasync` for each publication and target, and one for each delivered batch.
//!
//! The invariant it keeps: `produced = delivered + spooled + dead_lettered`, for each target, always. A
//! finding leaves the spool only when its target has it or when it lies in the dead-letter file.

pub mod alertmanager;
pub mod bulk;
mod cef;
pub mod deliver;
mod disk;
mod ecs;
pub mod file;
#[cfg(test)]
mod fixture;
mod format;
pub mod hec;
pub mod http;
pub mod kinds;
pub mod ocsf;
pub mod otlp_logs;
mod round;
pub mod secret;
pub mod sentinel;
pub mod spool;
pub mod syslog;
pub mod tls;
pub mod webhook;

use std::fmt::Write as _;

use lapwing_telemetry::{Finding, Severity};

pub use alertmanager::{AlertmanagerSettings, alertmanager_sink};
pub use bulk::{BulkSettings, bulk_sink};
pub use cef::{cef, leef};
pub use deliver::{DeliveryError, DeliverySettings, deliver};
pub use ecs::{ECS_VERSION, ecs};
pub use file::{FileSettings, FileSink, Rotation, StdoutSink};
pub use format::Format;
pub use hec::{AckSettings, HecSettings, hec_sink};
pub use ocsf::ocsf;
pub use otlp_logs::{logs_request, otlp_sink};
pub use secret::Secret;
pub use sentinel::{SentinelSettings, sentinel_row, sentinel_sink};
pub use spool::{Monitor, SinkState, SinkStats, SpoolError, SpoolReader, SpoolSettings, SpooledSink};
pub use syslog::{SyslogSettings, SyslogSink, octet_counted, rfc5424};
pub use tls::TlsSettings;
pub use webhook::{Template, WebhookSettings, webhook_sink};

/// What the formats say about the sender, beside what the finding says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Version of lapwing, for example `0.1.0`.
    pub product_version: String,
    /// Name of this machine or pod, as syslog's HOSTNAME and OCSF's log provider.
    pub hostname: String,
    /// Identifies this process on its host, as syslog's PROCID.
    pub process_id: u32,
    /// Where the runbooks are served; `/` and the finding's kind are appended. `None` leaves links out.
    pub runbook_url: Option<String>,
}

impl Context {
    /// The address of the runbook for a finding; `None` if no base is configured.
    pub fn runbook(&self, finding: &Finding) -> Option<String> {
        self.runbook_url.as_ref().map(|base| format!("{}/{}", base.trim_end_matches('/'), finding.kind))
    }
}

/// The finding as one line of flat JSON, without the line break: the native format.
#[expect(clippy::missing_panics_doc, reason = "it cannot: a finding has string keys and no fallible parts")]
pub fn ndjson(finding: &Finding) -> String {
    serde_json::to_string(finding).expect("a finding has string keys and no fallible parts")
}

/// A severity on the scales of the receiving systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scales {
    /// OCSF `severity_id` and its caption.
    pub ocsf: (u8, &'static str),
    /// OCSF `risk_level_id` and its caption.
    pub risk_level: (u8, &'static str),
    /// Risk 0 to 100, with the values that Elastic's detection rules use for their four severities.
    pub risk_score: u8,
    /// Syslog severity (RFC 5424 section 6.2.1): lower is worse.
    pub syslog: u8,
    /// CEF and LEEF severity, 0 to 10.
    pub cef: u8,
    /// OpenTelemetry `SeverityNumber`.
    pub otlp: i32,
    /// The `severity` label that Alertmanager routes usually match on.
    pub alertmanager: &'static str,
    /// Microsoft Sentinel's alert severity.
    pub sentinel: &'static str,
}

/// Puts a severity on every scale. The one table for all formats, repeated in `docs/findings.md`.
pub const fn scales(severity: Severity) -> Scales {
    match severity {
        Severity::Info => Scales {
            ocsf: (1, "Informational"),
            risk_level: (0, "Info"),
            risk_score: 10,
            syslog: 6,
            cef: 1,
            otlp: 9,
            alertmanager: "info",
            sentinel: "Informational",
        },
        Severity::Low => Scales {
            ocsf: (2, "Low"),
            risk_level: (1, "Low"),
            risk_score: 21,
            syslog: 5,
            cef: 3,
            otlp: 10,
            alertmanager: "info",
            sentinel: "Low",
        },
        Severity::Medium => Scales {
            ocsf: (3, "Medium"),
            risk_level: (2, "Medium"),
            risk_score: 47,
            syslog: 4,
            cef: 5,
            otlp: 13,
            alertmanager: "warning",
            sentinel: "Medium",
        },
        Severity::High => Scales {
            ocsf: (4, "High"),
            risk_level: (3, "High"),
            risk_score: 73,
            syslog: 3,
            cef: 8,
            otlp: 17,
            alertmanager: "critical",
            sentinel: "High",
        },
        Severity::Critical => Scales {
            ocsf: (5, "Critical"),
            risk_level: (4, "Critical"),
            risk_score: 99,
            syslog: 2,
            cef: 10,
            otlp: 21,
            alertmanager: "critical",
            sentinel: "High",
        },
    }
}

/// Whom a finding is about, for a title: `shop/cart to data/orders`, or one service alone.
fn subject(finding: &Finding) -> String {
    match (&finding.source, &finding.destination) {
        (Some(source), Some(destination)) => format!("{source} to {destination}"),
        (Some(one), None) | (None, Some(one)) => one.clone(),
        (None, None) => format!("cluster {}", finding.cluster),
    }
}

/// A number for a reader: at most three decimals, none that say nothing.
fn number(value: f64) -> String {
    let mut text = String::new();
    write!(text, "{value:.3}").expect("writing to a string cannot fail");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lose_decimals_that_say_nothing() {
        for (value, expect) in
            [(412.0, "412"), (0.5, "0.5"), (1.2345, "1.234"), (0.0, "0"), (1500.0, "1500"), (-0.25, "-0.25")]
        {
            assert_eq!(number(value), expect);
        }
    }
}
