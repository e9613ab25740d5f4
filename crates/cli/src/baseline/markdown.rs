//! Baselines in Markdown, for whoever keeps them: an auditor, a change record.

use std::fmt::Write as _;

use lapwing_pipeline::baselines::{PairBaseline, Readout};

use super::{name, period, short};

/// The report of a readout, taken `at`.
pub(super) fn report(readout: &Readout, at: &str) -> String {
    let baselines = &readout.baselines;
    let mut text = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| {
        let _infallible = writeln!(text, "{line}");
    };
    line(format_args!("# Baselines of service pairs\n"));
    line(format_args!("{}\n", period(readout)));
    line(format_args!("| | |\n|---|---|"));
    line(format_args!("| taken | {at} |"));
    line(format_args!("| state file | `{}`, {} bytes |", readout.state_file.display(), readout.state_bytes));
    line(format_args!("| SHA-256 | `{}` |", readout.state_sha256));
    line(format_args!("| saved | {} |", readout.saved_at.as_deref().unwrap_or("unknown")));
    line(format_args!(
        "| journal offset included | {} |",
        readout.included_offset.map_or("none".to_owned(), |o| o.to_string())
    ));
    line(format_args!("| judged by | {} |", baselines.made_by));
    line(format_args!("| pairs | {} |", baselines.pairs.len()));
    line(format_args!("| local time | UTC {:+} min at the end |", baselines.utc_offset_minutes));
    line(format_args!("\n## Thresholds\n"));
    line(format_args!(
        "{} false findings a day over the whole mesh are accepted; {} familiar pairs share them. A window is unusual below:\n",
        baselines.budget_per_day, baselines.sharing_pairs
    ));
    line(format_args!("| window | tests of a pair a day | probability |\n|---:|---:|---:|"));
    for t in &baselines.thresholds {
        line(format_args!("| {} s | {:.0} | {:.1e} |", t.window_s, t.tests_per_day, t.tail));
    }
    if let Some(said) = super::feedback(readout) {
        line(format_args!("\n{said}"));
    }
    line(format_args!("\n## Usual values\n"));
    line(format_args!(
        "Old observations count for half after six days. `-`: too few calls to say. Errors are those of the service or the network.\n"
    ));
    line(format_args!(
        "| pair | h learned | calls/h | p50 ms | p95 ms | p99 ms | errors % | 95 % interval | token refusals/h | policy denials/h | TLS failures/h | encrypted | plaintext |"
    ));
    line(format_args!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"));
    for pair in &baselines.pairs {
        line(format_args!("{}", row(pair)));
    }
    line(format_args!("\n## Not learned yet\n"));
    let mut complete = true;
    for pair in baselines.pairs.iter().filter(|p| !p.missing.is_empty()) {
        complete = false;
        line(format_args!("- {}: {}", name(pair), pair.missing.join("; ")));
    }
    if complete {
        line(format_args!("Nothing is missing."));
    }
    line(format_args!("\n## Unusual at the moment of the state\n"));
    let mut calm = true;
    for pair in baselines.pairs.iter().filter(|p| !p.open_findings.is_empty() || !p.unusual_now.is_empty()) {
        calm = false;
        let open: Vec<String> =
            pair.open_findings.iter().map(|(kind, id)| format!("{kind} `{id}`")).collect();
        let what = if open.is_empty() { pair.unusual_now.join(", ") } else { open.join(", ") };
        line(format_args!("- {}: {what}", name(pair)));
    }
    if calm {
        line(format_args!("Nothing."));
    }
    line(format_args!("\n## Calls an hour by hour of the week\n"));
    line(format_args!("Usual calls an hour at each hour of local time; `-`: never watched.\n"));
    for (weekend, day) in [(false, "Weekdays"), (true, "Weekends")] {
        let hours: Vec<String> = (0..24).map(|h| format!("{h:02}")).collect();
        line(format_args!("| {day} | {} |", hours.join(" | ")));
        line(format_args!("|---|{}", "---:|".repeat(24)));
        for pair in &baselines.pairs {
            let of_day = pair.hours.iter().filter(|h| h.weekend == weekend);
            let cells: Vec<String> = of_day.map(|h| short(h.calls)).collect();
            line(format_args!("| {} | {} |", name(pair), cells.join(" | ")));
        }
        line(format_args!(""));
    }
    text
}

fn row(pair: &PairBaseline) -> String {
    let latency = pair.latency_ms.as_ref();
    let ms = |of: fn(&lapwing_pipeline::baselines::Quantiles) -> Option<f64>| short(latency.and_then(of));
    let errors = &pair.errors;
    let interval = match errors.percent {
        None => "-".to_owned(),
        Some(_) => format!("{:.2} to {:.2}", errors.percent_low, errors.percent_high),
    };
    let cells = [
        name(pair),
        pair.hours_learned.to_string(),
        short(pair.calls_per_hour),
        ms(|l| l.p50),
        ms(|l| l.p95),
        ms(|l| l.p99),
        short(errors.percent),
        interval,
        short(Some(pair.auth_failures.expected_per_hour)),
        short(Some(pair.policy_denials.expected_per_hour)),
        short(Some(pair.tls_failures.expected_per_hour)),
        pair.encrypted_calls.to_string(),
        pair.plaintext_calls.to_string(),
    ];
    format!("| {} |", cells.join(" | "))
}
