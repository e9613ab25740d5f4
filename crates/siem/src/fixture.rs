//! Sample findings for tests: one of each kind, and one whole life.

use lapwing_telemetry::Finding;

/// Every sample, in the order of the file.
pub(crate) fn findings() -> Vec<Finding> {
    let lines = include_str!("../tests/samples/findings.ndjson").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The first sample: a new pair that opens.
pub(crate) fn finding() -> Finding {
    findings().swap_remove(0)
}

/// What the formats say about the sender in tests.
pub(crate) fn context() -> crate::Context {
    crate::Context {
        product_version: "0.1.0".to_owned(),
        hostname: "lapwing-0.prod-eu1".to_owned(),
        process_id: 4711,
        runbook_url: Some("https://runbooks.example/lapwing/".to_owned()),
    }
}
