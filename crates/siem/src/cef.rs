//! ArcSight Common Event Format, version 0, and IBM LEEF 2.0: one line each, for receivers of syslog.
//!
//! CEF: "Implementing ArcSight Common Event Format", revision 26. LEEF: IBM QRadar "LEEF Guide", version 2.
//! Both are short by nature: of the calls that show a finding only the first is named.

use std::fmt::Write as _;

use lapwing_telemetry::{EventTime, Finding};

use crate::kinds::{self, facts};
use crate::ocsf::split_operation;
use crate::{Context, number, scales, subject};

/// A finding's revision as a CEF line, without a line break.
pub fn cef(finding: &Finding, context: &Context) -> String {
    let kind = facts(finding.kind);
    let title = format!("{}: {}", kind.title, subject(finding));
    let mut line = String::from("CEF:0");
    for field in ["lapwing", "lapwing", &context.product_version, finding.kind.as_str(), &title] {
        line.push('|');
        push_header(&mut line, field);
    }
    write!(line, "|{}|", scales(finding.severity).cef).expect("writing to a string cannot fail");
    let mut first = true;
    for (key, value) in cef_extension(finding, context) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            if !std::mem::take(&mut first) {
                line.push(' ');
            }
            line.push_str(key);
            line.push('=');
            push_value(&mut line, &value);
        }
    }
    line
}

fn cef_extension(finding: &Finding, context: &Context) -> Vec<(&'static str, Option<String>)> {
    let common = Common::of(finding);
    let millis = |time: EventTime| Some(time.unix_millis().to_string());
    let mut fields = vec![
        ("rt", millis(finding.revised_at())),
        ("start", millis(finding.window_start)),
        ("end", millis(finding.window_end)),
        ("cat", Some(facts(finding.kind).title.to_owned())),
        ("act", Some("observed".to_owned())),
        ("externalId", Some(finding.event_id())),
        ("deviceExternalId", Some(finding.cluster.clone())),
        ("dvchost", Some(context.hostname.clone())),
        ("sourceServiceName", finding.source.clone()),
        ("destinationServiceName", finding.destination.clone()),
        ("requestMethod", common.method),
        ("request", common.path),
        ("outcome", common.status),
    ];
    let mut custom = |label: (&'static str, &str), key: &'static str, value: Option<String>| {
        if value.as_ref().is_some_and(|value| !value.is_empty()) {
            fields.extend([(label.0, Some(label.1.to_owned())), (key, value)]);
        }
    };
    custom(("cs1Label", "findingId"), "cs1", Some(finding.id.clone()));
    custom(("cs2Label", "mitreTechniques"), "cs2", Some(common.techniques));
    custom(("cs3Label", "traceId"), "cs3", common.trace_id);
    custom(("cs4Label", "runbook"), "cs4", context.runbook(finding));
    custom(("cs5Label", "state"), "cs5", Some(finding.state.as_str().to_owned()));
    custom(("cs6Label", "incident"), "cs6", Some(finding.incident.clone()));
    custom(("cn1Label", "revision"), "cn1", Some(finding.revision.to_string()));
    custom(("cfp1Label", "confidence"), "cfp1", Some(number(finding.confidence)));
    custom(("cfp2Label", "score"), "cfp2", Some(number(finding.score)));
    fields.push(("reason", Some(common.measured)));
    fields.push(("msg", Some(finding.explanation.clone())));
    fields
}

/// A finding's revision as a LEEF line with tabs between its attributes, without a line break.
pub fn leef(finding: &Finding, context: &Context) -> String {
    let kind = facts(finding.kind);
    let common = Common::of(finding);
    let mut line = String::from("LEEF:2.0");
    for field in ["lapwing", "lapwing", &context.product_version, finding.kind.as_str()] {
        line.push('|');
        // There is no way to escape a bar.
        line.extend(field.chars().map(|c| if c == '|' || c.is_control() { ' ' } else { c }));
    }
    line.push_str("|x09|");
    let fields = [
        ("cat", Some(kind.title.to_owned())),
        ("devTime", Some(finding.revised_at().to_string())),
        ("devTimeFormat", Some("yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'".to_owned())),
        ("sev", Some(scales(finding.severity).cef.max(1).to_string())),
        ("identHostName", Some(context.hostname.clone())),
        ("resource", finding.destination.clone().or_else(|| finding.source.clone())),
        ("url", common.path),
        ("externalId", Some(finding.event_id())),
        ("findingId", Some(finding.id.clone())),
        ("revision", Some(finding.revision.to_string())),
        ("state", Some(finding.state.as_str().to_owned())),
        ("cluster", Some(finding.cluster.clone())),
        ("sourceService", finding.source.clone()),
        ("destinationService", finding.destination.clone()),
        ("requestMethod", common.method),
        ("responseStatus", common.status),
        ("mitreTechniques", Some(common.techniques)),
        ("traceId", common.trace_id),
        ("incident", Some(finding.incident.clone())),
        ("confidence", Some(number(finding.confidence))),
        ("score", Some(number(finding.score))),
        ("runbook", context.runbook(finding)),
        ("reason", Some(common.measured)),
        ("msg", Some(finding.explanation.clone())),
    ];
    let mut first = true;
    for (key, value) in fields {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            if !std::mem::take(&mut first) {
                line.push('\t');
            }
            line.push_str(key);
            line.push('=');
            // The delimiter and line breaks cannot be escaped either.
            line.extend(value.chars().map(|c| if c.is_control() { ' ' } else { c }));
        }
    }
    line
}

/// What both formats say in the same words.
struct Common {
    method: Option<String>,
    path: Option<String>,
    status: Option<String>,
    trace_id: Option<String>,
    techniques: String,
    measured: String,
}

impl Common {
    fn of(finding: &Finding) -> Common {
        let call = finding.exemplars.first();
        let (method, path) = split_operation(call.and_then(|call| call.operation.as_deref()));
        let techniques: Vec<&str> = kinds::attacks(finding).iter().map(|a| a.technique.0).collect();
        let (observed, expected) = (number(finding.observed), number(finding.expected));
        Common {
            method: method.map(str::to_owned),
            path: path.map(str::to_owned),
            status: call.and_then(|call| call.status).map(|status| status.to_string()),
            trace_id: call.and_then(|call| call.trace_id.clone()),
            techniques: techniques.join(","),
            measured: format!("observed {observed}, expected {expected} {}", finding.unit),
        }
    }
}

/// A header field: `\` and `|` are escaped, line breaks have no place.
fn push_header(line: &mut String, field: &str) {
    for c in field.chars() {
        match c {
            '\\' | '|' => line.extend(['\\', c]),
            c if c.is_control() => line.push(' '),
            c => line.push(c),
        }
    }
}

/// A value of the extension: `\` and `=` are escaped, line breaks are written as `\n` and `\r`; a bar stays.
fn push_value(line: &mut String, value: &str) {
    for c in value.trim_end().chars() {
        match c {
            '\\' | '=' => line.extend(['\\', c]),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            c if c.is_control() => line.push(' '),
            c => line.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{context, finding};

    #[test]
    fn cef_escapes_what_would_end_a_field_and_nothing_else() {
        let mut claim = finding();
        claim.source = Some("a|b\\c=d".to_owned());
        claim.explanation = "x=1|y\\z\nnext\r\tend ".to_owned();
        let line = cef(&claim, &context());
        assert!(line.contains(r"|New service pair: a\|b\\c=d to pay/ledger|5|rt="), "{line}");
        assert!(line.contains(r" sourceServiceName=a|b\\c\=d "), "{line}");
        assert!(line.ends_with(r" msg=x\=1|y\\z\nnext\r end"), "{line}");
    }

    #[test]
    fn leef_gives_up_what_it_cannot_escape() {
        let mut claim = finding();
        claim.explanation = "a\tb\nc|d=e".to_owned();
        let line = leef(&claim, &context());
        assert!(line.ends_with("\tmsg=a b c|d=e"), "{line}");
        assert_eq!(line.split('|').nth(4), Some("new_pair"));
    }
}
