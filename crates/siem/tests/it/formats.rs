//! Every byte that leaves the house. `conformance/ocsf.sh` gives these files to validators of others.

use insta::assert_binary_snapshot;
use lapwing_siem::syslog::FACILITY_LOG_AUDIT;
use lapwing_siem::syslog::rfc5424_with;
use lapwing_siem::{
    Format, cef, ecs, leef, logs_request, ndjson, ocsf, octet_counted, rfc5424, sentinel_row,
};
use lapwing_telemetry::{Finding, FindingKind};

use crate::{context, samples};

#[test]
fn the_samples_show_every_kind() {
    for kind in FindingKind::ALL {
        assert!(samples().iter().any(|finding| finding.kind == *kind), "{kind}");
    }
}

#[test]
fn native_lines() {
    let text: String = samples().iter().map(|finding| ndjson(finding) + "\n").collect();
    for (line, finding) in text.lines().zip(samples()) {
        assert_eq!(serde_json::from_str::<Finding>(line).unwrap(), finding);
    }
    assert_binary_snapshot!("native.ndjson", text.into_bytes());
}

#[test]
fn ocsf_events() {
    let events: Vec<_> = samples().iter().map(|finding| ocsf(finding, &context())).collect();
    let text = serde_json::to_string_pretty(&events).unwrap() + "\n";
    assert_binary_snapshot!("ocsf.json", text.into_bytes());
}

#[test]
fn ecs_documents() {
    let text: String = samples().iter().map(|finding| ecs(finding, &context()).to_string() + "\n").collect();
    assert_binary_snapshot!("ecs.ndjson", text.into_bytes());
}

#[test]
fn cef_lines() {
    let text: String = samples().iter().map(|finding| cef(finding, &context()) + "\n").collect();
    assert_binary_snapshot!("cef.log", text.into_bytes());
}

#[test]
fn leef_lines() {
    let text: String = samples().iter().map(|finding| leef(finding, &context()) + "\n").collect();
    assert_binary_snapshot!("leef.log", text.into_bytes());
}

#[test]
fn sentinel_rows() {
    let rows = samples().into_iter().map(|finding| sentinel_row(&finding, &context()).to_string() + "\n");
    assert_binary_snapshot!("sentinel.ndjson", rows.collect::<String>().into_bytes());
}

#[test]
fn otlp_log_records() {
    let request = logs_request(&samples(), &context());
    let text = serde_json::to_string_pretty(&request).unwrap() + "\n";
    assert_binary_snapshot!("otlp_logs.json", text.into_bytes());
}

/// Messages with the bodies that are no JSON.
#[test]
fn syslog_messages_with_other_bodies() {
    let lines = [Format::Cef, Format::Leef].into_iter().flat_map(|format| {
        let messages = samples().into_iter().zip(1..);
        messages.map(move |(f, i)| rfc5424_with(format, &f, &context(), FACILITY_LOG_AUDIT, i))
    });
    let bytes = lines.flat_map(|line| [line, b"\n".to_vec()].concat()).collect();
    assert_binary_snapshot!("rfc5424_other.log", bytes);
}

/// Findings too long for a message: one has to leave out some of its evidence, the other all it can.
fn too_long() -> [Finding; 2] {
    let [mut some, mut all] = [samples().swap_remove(0), samples().swap_remove(0)];
    some.exemplars = vec![some.exemplars[0].clone(); 5];
    some.exemplars[3].operation = Some(format!("GET /{}", "segment/".repeat(300)));
    all.explanation = "A very long sentence. ".repeat(250);
    [some, all]
}

#[test]
fn syslog_messages() {
    let messages = samples().into_iter().chain(too_long()).zip(1..);
    let lines = messages.map(|(finding, i)| rfc5424(&finding, &context(), FACILITY_LOG_AUDIT, i));
    assert_binary_snapshot!("rfc5424.log", lines.flat_map(|line| [line, b"\n".to_vec()].concat()).collect());
}

#[test]
fn octet_counted_stream() {
    let messages = samples().into_iter().zip(1..);
    let frames =
        messages.map(|(finding, i)| octet_counted(&rfc5424(&finding, &context(), FACILITY_LOG_AUDIT, i)));
    assert_binary_snapshot!("octet_counted.bin", frames.flatten().collect());
}
