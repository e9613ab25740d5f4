//! Baselines at a terminal: a table of pairs, or one pair in full.

use std::fmt::Write as _;

use lapwing_pipeline::baselines::{PairBaseline, Quantiles, Readout};
use lapwing_pipeline::feedback::{Feedback, MARGIN};

use super::{learned, name, period, short, sparkline};
use crate::output::{count, grouped, table};

/// The page of a readout.
pub(super) fn page(readout: &Readout) -> String {
    let pairs = &readout.baselines.pairs;
    let mut text = match pairs.as_slice() {
        [pair] => in_full(pair, &readout.feedback),
        pairs => overview(pairs),
    };
    let mut line = |line: String| {
        let _infallible = writeln!(text, "{line}");
    };
    line(period(readout));
    if let Some(said) = super::feedback(readout) {
        line(said);
    }
    let young: Vec<&PairBaseline> = pairs.iter().filter(|p| p.hours_learned < 24).collect();
    if pairs.len() > 1 && !young.is_empty() {
        line(format!(
            "{} not judged by all detectors yet (less than 24 h learned); `--format json` says what each lacks.",
            count(young.len() as u64, "pair")
        ));
    }
    line(format!(
        "State {} of {}, offset {}, sha256 {}…",
        readout.state_file.display(),
        readout.saved_at.as_deref().unwrap_or("unknown time"),
        readout.included_offset.map_or("-".to_owned(), grouped),
        &readout.state_sha256[..16]
    ));
    text
}

fn overview(pairs: &[PairBaseline]) -> String {
    if pairs.is_empty() {
        return "No pair fits.\n".to_owned();
    }
    let head = [
        "pair",
        "learned",
        "calls/h",
        "weekday 0h to 23h",
        "p50 ms",
        "p95",
        "p99",
        "errors %",
        "95 % interval",
        "",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for pair in pairs {
        let latency = pair.latency_ms.as_ref();
        rows.push(vec![
            name(pair),
            learned(pair),
            short(pair.calls_per_hour),
            sparkline(pair, false),
            short(latency.and_then(|l| l.p50)),
            short(latency.and_then(|l| l.p95)),
            short(latency.and_then(|l| l.p99)),
            short(pair.errors.percent),
            interval(pair),
            notes(pair),
        ]);
    }
    table(&rows) + "\n"
}

fn interval(pair: &PairBaseline) -> String {
    if pair.errors.percent.is_none() {
        return "-".to_owned();
    }
    format!("{:.2} to {:.2}", pair.errors.percent_low, pair.errors.percent_high)
}

fn notes(pair: &PairBaseline) -> String {
    let mut notes = Vec::new();
    if pair.hours_learned < 24 {
        notes.push("not judged yet".to_owned());
    }
    if !pair.unusual_now.is_empty() {
        notes.push(format!("unusual now: {}", pair.unusual_now.join(", ")));
    }
    if !pair.open_findings.is_empty() {
        notes.push(format!("{} open", count(pair.open_findings.len() as u64, "finding")));
    }
    notes.join("; ")
}

fn in_full(pair: &PairBaseline, feedback: &[Feedback]) -> String {
    let mut text = format!("{} ({})\n", name(pair), pair.pair.cluster);
    let mut line = |what: &str, said: String| {
        let _infallible = writeln!(text, "  {what:<16}{said}");
    };
    line(
        "seen",
        format!(
            "{} to {}; {} h learned, {} h with calls; rests on {}",
            pair.first_seen,
            pair.last_seen,
            pair.hours_learned,
            pair.hours_seen,
            pair.signal.map_or("no record yet", |s| s.as_str())
        ),
    );
    line("calls", format!("{}, {} failed or refused", grouped(pair.calls), grouped(pair.failed)));
    line(
        "volume",
        format!(
            "{} calls/h overall; of late {} times its hours",
            short(pair.calls_per_hour),
            short(Some(pair.trend))
        ),
    );
    for (weekend, day) in [(false, "weekday"), (true, "weekend")] {
        let known = || pair.hours.iter().filter(|h| h.weekend == weekend).filter_map(|h| h.calls);
        let (least, most) = (known().fold(f64::INFINITY, f64::min), known().fold(0.0, f64::max));
        let range = if known().next().is_none() {
            "never watched".to_owned()
        } else {
            format!("{} to {} calls/h", short(Some(least)), short(Some(most)))
        };
        line(day, format!("{}  {range}", sparkline(pair, weekend)));
    }
    line("latency", quantiles(pair.latency_ms.as_ref(), "ms"));
    line("request size", quantiles(pair.request_bytes.as_ref(), "bytes"));
    line("response size", quantiles(pair.response_bytes.as_ref(), "bytes"));
    let errors = &pair.errors;
    line(
        "errors",
        format!(
            "{} % (95 % interval {}), {} of {} calls",
            short(errors.percent),
            interval(pair),
            short(Some(errors.errors)),
            short(Some(errors.calls))
        ),
    );
    for (what, rate) in [
        ("token refused", &pair.auth_failures),
        ("policy denied", &pair.policy_denials),
        ("TLS failed", &pair.tls_failures),
    ] {
        line(
            what,
            format!(
                "{} in {} h; {} an hour expected",
                short(Some(rate.refused)),
                short(Some(rate.hours)),
                short(Some(rate.expected_per_hour))
            ),
        );
    }
    line(
        "encryption",
        format!(
            "{} encrypted, {} plaintext, {}",
            grouped(pair.encrypted_calls),
            grouped(pair.plaintext_calls),
            if pair.identities == 1 {
                "1 identity".to_owned()
            } else {
                format!("{} identities", pair.identities)
            }
        ),
    );
    for (i, missing) in pair.missing.iter().enumerate() {
        line(if i == 0 { "not learned yet" } else { "" }, missing.clone());
    }
    if !pair.unusual_now.is_empty() {
        line("unusual now", format!("{}; not learned from", pair.unusual_now.join(", ")));
    }
    for mark in feedback.iter().filter_map(Feedback::mark).filter(|mark| mark.is_of(&pair.pair)) {
        line(
            "marked false",
            format!(
                "{}: must go farther than {:.1} times what is expected, from {} to {}",
                mark.kind,
                mark.deviation * MARGIN,
                mark.from,
                mark.until
            ),
        );
    }
    for (kind, id) in &pair.open_findings {
        line("open finding", format!("{kind} {id}"));
    }
    text.push('\n');
    text
}

fn quantiles(known: Option<&Quantiles>, unit: &str) -> String {
    let Some(q) = known else { return "unknown: no record said".to_owned() };
    format!(
        "p50 {}, p95 {}, p99 {} {unit} over {} calls; hours vary {} times as much as chance",
        short(q.p50),
        short(q.p95),
        short(q.p99),
        short(Some(q.calls)),
        short(Some(q.variance_ratio[1]))
    )
}
