//! A finding's evidence at a terminal.

use std::fmt::Write as _;

use lapwing_pipeline::replay::Finding;

use super::Evidence;
use crate::output::{count, table};
use crate::plot::{Chart, minute, terminal};

/// The page of a finding.
pub(super) fn page(evidence: &Evidence, chart: Option<&Chart>) -> String {
    let (opened, latest) = (&evidence.opened, &evidence.latest);
    let mut text = format!("{}\n", opened.id);
    let mut say = |line: String| {
        let _infallible = writeln!(text, "{line}");
    };
    say(format!(
        "{} by detector {}, severity {}, {} (revision {})",
        opened.kind,
        opened.detector,
        latest.severity.as_str(),
        state(latest),
        latest.revision
    ));
    say(format!("{} in {}\n", who(opened), opened.cluster));
    say(format!("  {}.\n", opened.explanation));
    let mut row = |what: &str, said: String| say(format!("  {what:<10}{said}"));
    row("window", format!("{} to {} UTC", minute(opened.window_start), minute(opened.window_end)));
    row("observed", format!("{} {}", number(opened.observed), opened.unit));
    row("expected", expected(opened));
    if latest.revision > opened.revision {
        row(
            "latest",
            format!(
                "{} {} in the window to {} UTC",
                number(latest.observed),
                latest.unit,
                minute(latest.window_end)
            ),
        );
    }
    row("score", format!("{:.6}, confidence {:.2}", opened.score, opened.confidence));
    if let Some(signal) = opened.signal {
        row("rests on", format!("{} records", signal.as_str()));
    }
    if let Some(windows) = &evidence.windows {
        row(
            "history",
            format!(
                "{} h learned when it opened; {} replayed from {}; the replay {} this finding",
                windows.hours_learned,
                count(windows.calls_replayed, "call"),
                windows.from.get(..16).unwrap_or(&windows.from),
                if windows.found_again { "makes" } else { "does not make" },
            ),
        );
        if !windows.found_again {
            row(
                "",
                "the archive does not reach back as far as what was learned, or settings have changed since"
                    .into(),
            );
        }
    }
    if let Some(reason) = &evidence.no_windows {
        row("history", format!("not shown: {reason}"));
    }
    if !latest.origins.is_empty() {
        row("origins", latest.origins.join(", "));
    }
    row("made by", opened.made_by.clone());
    text.push('\n');
    if let Some(chart) = chart {
        text.push_str(&terminal::draw(chart));
        text.push('\n');
    }
    text.push_str(&calls(opened));
    text.push_str(&beside(evidence));
    text
}

fn state(latest: &Finding) -> String {
    match latest.closed_at {
        Some(at) => format!("closed {} UTC", minute(at)),
        None => format!("open since {} UTC", minute(latest.opened_at)),
    }
}

fn who(finding: &Finding) -> String {
    match (&finding.source, &finding.destination) {
        (Some(source), Some(destination)) => format!("{source} → {destination}"),
        (Some(only), None) | (None, Some(only)) => only.clone(),
        (None, None) => "the mesh".to_owned(),
    }
}

fn expected(finding: &Finding) -> String {
    let usual = match (finding.expected_low, finding.expected_high) {
        (Some(low), Some(high)) => format!("; {} to {} is usual", number(low), number(high)),
        (Some(low), None) => format!("; at least {} is usual", number(low)),
        (None, Some(high)) => format!("; at most {} is usual", number(high)),
        (None, None) => String::new(),
    };
    format!("{} {}{usual}", number(finding.expected), finding.unit)
}

fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v.fract() == 0.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

fn calls(finding: &Finding) -> String {
    if finding.exemplars.is_empty() {
        return "  No calls were kept as examples.\n\n".to_owned();
    }
    let mut rows = vec![["call at", "took ms", "status", "operation", "trace"].map(str::to_owned).to_vec()];
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    rows.extend(finding.exemplars.iter().map(|e| {
        vec![
            e.started_at.to_string().get(5..19).unwrap_or_default().replace('T', " "),
            or_none(e.duration_ms.map(|ms| ms.to_string())),
            or_none(e.status.map(|s| s.to_string())),
            or_none(e.operation.clone()),
            or_none(e.trace_id.clone()),
        ]
    }));
    table(&rows) + "\n"
}

fn beside(evidence: &Evidence) -> String {
    if evidence.beside.is_empty() {
        return "  Nothing else was found at that time.\n".to_owned();
    }
    let mut rows = vec![["also at", "", "finding", "on", "in its words"].map(str::to_owned).to_vec()];
    rows.extend(evidence.beside.iter().map(|other| {
        vec![
            minute(other.opened.opened_at),
            if other.same_incident { "same incident" } else { "near in time" }.to_owned(),
            other.opened.kind.to_string(),
            who(&other.opened),
            other.opened.explanation.chars().take(60).collect(),
        ]
    }));
    let mut text = table(&rows);
    if evidence.beside_not_listed > 0 {
        let _infallible = writeln!(text, "  and {} more", evidence.beside_not_listed);
    }
    text
}
