//! `lapwing demo`: recorded telemetry of a real Envoy mesh through a whole pipeline, and what it found.

use std::path::{Path, PathBuf};

use anyhow::Context;
use lapwing_pipeline::config::Config;
use lapwing_pipeline::demo::{DemoReport, LATENESS, demo as run_demo};
use lapwing_pipeline::replay::Finding;
use lapwing_pipeline::settings::Settings;
use lapwing_training::backtest::{GRACE, Report, load_revisions};
use lapwing_training::{Labels, load_labels, score};

use crate::Failure;
use crate::args::DemoArgs;
use crate::output::{bytes, count, grouped, progress_bar, table};

pub(crate) fn demo(args: &DemoArgs) -> Result<(), Failure> {
    let dataset = dataset(args.dataset.as_deref())?;
    let recording = dataset.join("stretched");
    let labels = load_labels(&recording.join("labels.json"))?;
    let data_dir = args.keep.clone().unwrap_or_else(|| PathBuf::from("lapwing-demo"));
    if data_dir.exists() {
        std::fs::remove_dir_all(&data_dir)
            .with_context(|| format!("old demo data in `{}`", data_dir.display()))?;
    }
    let settings = demo_settings(&data_dir, &dataset.join("inventory.yaml"))?;
    let findings_file = data_dir.join("findings.ndjson");
    println!(
        "lapwing demo: ten recorded days of a real Envoy mesh, through the real gRPC door, into a whole pipeline."
    );
    println!("Seven days are learned; in the last three, things were done to the mesh.\n");
    let bar = progress_bar("sending");
    let report = tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run_demo(
        settings,
        &[recording],
        |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        },
    ));
    bar.finish_and_clear();
    let report = report.map_err(anyhow::Error::msg)?;
    let scores = score(&labels, &load_revisions(&findings_file)?, GRACE);
    print_traffic(&report);
    print_incidents(&labels, &scores, &read_findings(&findings_file)?);
    print_redactions(&report);
    print_next_steps(&data_dir, &findings_file, &report);
    Ok(())
}

/// The data set given, or the repository's, looked for from the current directory upwards.
fn dataset(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let here = std::env::current_dir()?;
    let found = here
        .ancestors()
        .map(|dir| dir.join("datasets/mesh"))
        .find(|dir| dir.join("stretched/labels.json").exists());
    found.context("no `datasets/mesh` here or above; run from a clone, or give one with --dataset")
}

fn demo_settings(data_dir: &Path, inventory: &Path) -> Result<Settings, Failure> {
    let lateness = format!("{}s", LATENESS.as_secs());
    let sets = [
        ("data_dir", data_dir.display().to_string()),
        ("inventory.file", inventory.display().to_string()),
        ("receivers.otlp.protocols.grpc.endpoint", "127.0.0.1:0".into()),
        ("receivers.otlp.protocols.http", "null".into()),
        // The cluster of the recorded proxies that send no resource and so do not name it.
        ("receivers.otlp.default_cluster", "cluster-lon-1".into()),
        ("extensions.health_check", "null".into()),
        ("service.telemetry.metrics", "null".into()),
        ("service.shutdown_timeout", "5m".into()),
        ("detectors.lateness", lateness),
        ("log.gather", "1ms".into()),
        // Ten days pass in a minute; what the demonstration counts is the recording's.
        ("redaction.canary.interval", "0s".into()),
    ];
    let sets: Vec<String> = sets.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    let config = Config::read(&[], &sets).map_err(Failure::Config)?;
    Settings::of(&config).map_err(Failure::Config)
}

fn read_findings(path: &Path) -> anyhow::Result<Vec<Finding>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("findings file `{}`", path.display()))?;
    text.lines().map(|line| serde_json::from_str(line).context("a line of the findings file")).collect()
}

fn print_traffic(report: &DemoReport) {
    let rows: u64 = report.calls_by_signal.iter().map(|(_, n)| n).sum();
    println!(
        "Sent {} ({} to {}): {}.",
        count(report.requests, "recorded request"),
        day(report.span.0),
        day(report.span.1),
        count(rows, "row")
    );
    let parts: Vec<String> = report
        .calls_by_signal
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(signal, n)| format!("{} {signal}", grouped(*n)))
        .collect();
    println!("  {}\n", parts.join(", "));
}

/// What was done beside what was found.
fn print_incidents(labels: &Labels, scores: &Report, findings: &[Finding]) {
    println!("What was done to the mesh                                  what lapwing said");
    let mut rows =
        vec![["when", "done", "on", "after", "finding", "in its words"].map(str::to_owned).to_vec()];
    for score in &scores.by_incident {
        let Some(label) = labels.incidents.iter().find(|label| label.id == score.id) else { continue };
        let answer = score.findings.iter().find_map(|id| findings.iter().find(|f| &f.id == id));
        let on = format!("{} → {}", label.source, label.destination);
        let (after, kind, words) = match (answer, score.delay_min) {
            (Some(finding), Some(delay)) => {
                (format!("{delay:.0} min"), finding.kind.as_str().to_owned(), shortened(&finding.explanation))
            }
            _ => ("-".into(), "not found".into(), String::new()),
        };
        rows.push(vec![day(label.start), score.kind.clone(), on, after, kind, words]);
    }
    println!("{}", table(&rows));
    println!(
        "Found {} of {} incidents, {} as what they are; {} false in three days; {} of {} harmless changes raised something.\n",
        scores.detected,
        scores.incidents,
        scores.detected_as_right_kind,
        count(scores.false_findings as u64, "finding"),
        scores.hard_negatives_raised,
        scores.hard_negatives
    );
}

fn print_redactions(report: &DemoReport) {
    let mut rows = vec![vec!["redacted".to_owned(), "times".to_owned()]];
    let mut rules: Vec<_> = report.redactions.iter().filter(|(_, n)| *n > 0).collect();
    rules.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    rows.extend(rules.into_iter().map(|(rule, n)| vec![rule.clone(), grouped(*n)]));
    println!("{}", table(&rows));
}

fn print_next_steps(data_dir: &Path, findings: &Path, report: &DemoReport) {
    println!("Findings   {}", findings.display());
    println!(
        "Telemetry  {} ({} in Parquet, {})",
        data_dir.join("archive").display(),
        count(report.archived_rows, "row"),
        bytes(report.archived_bytes)
    );
    println!("\nPoint a mesh at it:");
    println!(
        "  lapwing run --config pipelines/standalone.yaml      OTLP/gRPC on 127.0.0.1:4317, OTLP/HTTP on 127.0.0.1:4318"
    );
    println!(
        "  Istio: meshConfig.extensionProviders with opentelemetry.service and envoyOtelAls on port 4317 (docs/meshes.md)"
    );
}

fn day(time: lapwing_telemetry::EventTime) -> String {
    let text = time.to_string();
    format!("{} {}", &text[5..10], &text[11..16])
}

/// The first sentence, if it is short enough; else its beginning.
fn shortened(text: &str) -> String {
    const WIDTH: usize = 72;
    let sentence = text.split_once(". ").map_or(text, |(first, _)| first);
    if sentence.chars().count() <= WIDTH {
        return sentence.to_owned();
    }
    let cut: String = sentence.chars().take(WIDTH - 1).collect();
    format!("{}…", cut.trim_end())
}
