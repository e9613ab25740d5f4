//! `lapwing feedback`: what people say of findings.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};

use anyhow::{Context, bail};
use lapwing_pipeline::feedback::{Feedback, HOLDS, SETTLES, Verdict, append, read};
use lapwing_pipeline::replay::Finding;
use lapwing_telemetry::EventTime;

use crate::args::FeedbackArgs;
use crate::output::{count, table};
use crate::run::system_clock;
use crate::{Failure, settings};

pub(crate) fn feedback(args: &FeedbackArgs) -> Result<(), Failure> {
    let mut settings = settings(&args.config)?;
    if let Some(dir) = &args.data_dir {
        settings = settings.with_data_dir(dir.clone());
    }
    let file = settings.feedback_file();
    if args.list {
        print!("{}", listed(&read(&file).map_err(anyhow::Error::msg)?));
        return Ok(());
    }
    let verdict = if args.is_true { Verdict::True } else { Verdict::False };
    let now = system_clock()();
    let from = match args.from.as_deref() {
        None => now.plus(SETTLES),
        Some(text) => EventTime::parse_rfc3339(text)
            .with_context(|| format!("--from `{text}` is not an RFC 3339 time"))?,
    };
    let by = args.by.clone().or_else(|| std::env::var("USER").ok()).filter(|by| !by.is_empty());
    let by = by.context("nobody says so: give --by, the file is kept for audits")?;
    let mut redactor = settings.redactor();
    let reason = args.reason.as_deref().map(|reason| redactor.redact_text(None, reason).into_owned());
    let findings = args.findings.clone().unwrap_or_else(|| settings.findings_file());
    let revisions = revisions(&findings, &args.id)?;
    let said: Vec<Feedback> = revisions
        .values()
        .filter_map(|of_one| Feedback::new(of_one, verdict, by.clone(), reason.clone(), now, from))
        .collect();
    append(&file, &said).map_err(anyhow::Error::msg)?;
    for feedback in &said {
        println!("{} {}: {}", feedback.id, feedback.kind, effect(feedback));
    }
    println!("{} added to {}", count(said.len() as u64, "line"), file.display());
    Ok(())
}

/// The revisions of each finding named; every name must fit exactly one.
fn revisions(file: &std::path::Path, ids: &[String]) -> anyhow::Result<BTreeMap<String, Vec<Finding>>> {
    let place = || format!("findings file `{}`", file.display());
    let mut found: BTreeMap<String, Vec<Finding>> = BTreeMap::new();
    for line in BufReader::new(File::open(file).with_context(place)?).lines() {
        let line = line.with_context(place)?;
        let Ok(finding) = serde_json::from_str::<Finding>(&line) else { continue };
        if ids.iter().any(|id| finding.id.starts_with(id.as_str())) {
            found.entry(finding.id.clone()).or_default().push(finding);
        }
    }
    for id in ids {
        match found.keys().filter(|known| known.starts_with(id.as_str())).count() {
            1 => {}
            0 => bail!("no finding `{id}` in {}; nothing was marked", place()),
            n => bail!("`{id}` begins the ids of {n} findings: write more of it; nothing was marked"),
        }
    }
    Ok(found)
}

/// What a mark does, in words.
fn effect(feedback: &Feedback) -> String {
    match (feedback.verdict, feedback.mark()) {
        (Verdict::True, _) => "marked true; its windows are kept out of training".to_owned(),
        (Verdict::False, Some(mark)) => format!(
            "marked false; from {} on and for {} days, findings of this kind on {} → {} must go farther than {:.1} times what is expected",
            feedback.from,
            HOLDS.as_secs() / 86_400,
            mark.source,
            mark.destination,
            mark.deviation * lapwing_pipeline::feedback::MARGIN,
        ),
        (Verdict::False, None) => {
            "marked false; this kind is not about one pair, so no threshold follows from it".to_owned()
        }
    }
}

fn listed(all: &[Feedback]) -> String {
    if all.is_empty() {
        return "No finding has been marked.\n".to_owned();
    }
    let mut rows = vec![["at", "by", "finding", "kind", "on", "", "reason"].map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(|f| {
        let name = |service: &Option<String>| service.clone().unwrap_or_else(|| "*".to_owned());
        vec![
            f.at.get(..16).unwrap_or(&f.at).to_owned(),
            f.by.clone(),
            f.id.get(..11).unwrap_or(&f.id).to_owned(),
            f.kind.to_string(),
            format!("{} → {}", name(&f.source), name(&f.destination)),
            if f.verdict == Verdict::True { "true" } else { "false" }.to_owned(),
            f.reason.clone().unwrap_or_default(),
        ]
    }));
    table(&rows)
}
