//! The formats as bytes, the spool on a disk, delivery to targets that misbehave.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test may fail it")]

mod delivery;
mod formats;
mod http;
mod pki;
mod spool;
mod stub;
mod syslog;

use std::sync::Arc;

use lapwing_siem::Context;
use lapwing_telemetry::{Clock, EventTime, Finding};

/// One finding of each kind, and one whole life.
fn samples() -> Vec<Finding> {
    let lines = include_str!("../samples/findings.ndjson").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// As many findings as asked for, numbered in `revision` from 1.
fn numbered(count: u32) -> Vec<Finding> {
    let sample = samples().swap_remove(0);
    (1..=count).map(|revision| Finding { revision, ..sample.clone() }).collect()
}

fn revisions(findings: &[Finding]) -> Vec<u32> {
    findings.iter().map(|finding| finding.revision).collect()
}

fn context() -> Context {
    Context {
        product_version: "0.1.0".to_owned(),
        hostname: "lapwing-0.prod-eu1".to_owned(),
        process_id: 4711,
        runbook_url: Some("https://runbooks.example/lapwing".to_owned()),
    }
}

/// A clock that stands still.
fn clock() -> Clock {
    Arc::new(|| EventTime(1_772_410_107_000_000))
}
