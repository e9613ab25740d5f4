//! `replay`, `train` and `backtest`: recorded telemetry through the same engines as `run`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use indicatif::ProgressBar;
use lapwing_pipeline::feedback::{Feedback, read as read_feedback};
use lapwing_pipeline::replay::{FeatureRow, Finding, Observer, Summary, replay as run_replay};
use lapwing_pipeline::settings::Settings;
use lapwing_telemetry::EventTime;
use lapwing_training::{
    Card, FitOptions, Fitted, Fitter, Report, Revision, backtest::GRACE, data_hash, load_labels, save, score,
};

use crate::args::{BacktestArgs, ConfigArgs, InputArgs, OutputFormat, ReplayArgs, TrainArgs};
use crate::output::{count, grouped, progress_bar, table};
use crate::plot::timeline;
use crate::{Failure, settings};

pub(crate) fn replay(args: &ReplayArgs) -> Result<(), Failure> {
    if let Some(file) = &args.series.series {
        return crate::series::replay(file, args);
    }
    let settings = offline_settings(&args.config, args.inventory.as_ref())?;
    let archive = args.archive.as_ref().map(|dir| settings.archive_at(dir.clone()));
    let mut writer = FindingWriter { out: open(args.findings.as_ref())?, bar: progress_bar("replaying") };
    let summary = run_replay(&settings, &args.input, archive, &mut writer).map_err(anyhow::Error::msg)?;
    writer.bar.finish_and_clear();
    if let Some(out) = &mut writer.out {
        out.flush()?;
    }
    match args.format {
        OutputFormat::Json => println!("{}", serde_json::to_string(&summary)?),
        OutputFormat::Table => print_summary(&summary),
    }
    Ok(())
}

pub(crate) fn backtest(args: &BacktestArgs) -> Result<(), Failure> {
    let settings = offline_settings(&args.input.config, args.input.inventory.as_ref())?;
    let labels = load_labels(&args.labels)?;
    let mut revisions = Revisions { revisions: Vec::new(), bar: progress_bar("replaying") };
    run_replay(&settings, &args.input.input, None, &mut revisions).map_err(anyhow::Error::msg)?;
    revisions.bar.finish_and_clear();
    let report = score(&labels, &revisions.revisions, GRACE);
    if let Some(path) = &args.plot {
        let drawn = timeline::draw(&labels, &revisions.revisions, &report)
            .map_err(|e| anyhow::anyhow!("plot `{}`: {e}", path.display()))?;
        std::fs::write(path, drawn).with_context(|| format!("plot `{}`", path.display()))?;
    }
    match args.format {
        OutputFormat::Json => println!("{}", serde_json::to_string(&report)?),
        OutputFormat::Table => print!("{}", report.to_table()),
    }
    Ok(())
}

pub(crate) fn train(args: &TrainArgs) -> Result<(), Failure> {
    let mut settings = offline_settings(&args.input.config, args.input.inventory.as_ref())?;
    let mut detection = (*settings.detection).clone();
    detection.collect_features = true;
    settings.detection = Arc::new(detection);
    let until = args
        .until
        .as_deref()
        .map(|text| {
            EventTime::parse_rfc3339(text)
                .with_context(|| format!("--until `{text}` is not an RFC 3339 time"))
        })
        .transpose()?;
    let fitter = Fitter::new(FitOptions::named(&args.name, settings.detection.feature_window()))?;
    let said = read_feedback(&settings.feedback_file()).map_err(anyhow::Error::msg)?;
    let window = settings.detection.feature_window();
    let mut collector =
        Collector { fitter, until, said, window, left_out: 0, bar: progress_bar("collecting") };
    run_replay(&settings, &args.input.input, None, &mut collector).map_err(anyhow::Error::msg)?;
    collector.bar.finish_and_clear();
    let left_out = collector.left_out;
    let fitted = collector.fitter.fit()?;
    let backtest =
        args.labels.as_deref().map(|labels| judged(&settings, &args.input, &fitted, labels)).transpose()?;
    let mut weaknesses = vec![
        "Fitted on windows of all pairs together: a pair unlike all others scores high from its first day."
            .into(),
    ];
    if backtest.is_some() && until.is_none() {
        weaknesses.push("The backtest includes the days it was fitted on: read it as an upper bound.".into());
    }
    let card = Card {
        data_hash: data_hash(&args.input.input)?,
        data: args
            .input
            .input
            .iter()
            .filter_map(|p| p.file_name())
            .map(|n| n.to_string_lossy())
            .collect::<Vec<_>>()
            .join(", "),
        settings_hash: settings.detection.made_by(),
        fitted_by: format!("lapwing {}", env!("CARGO_PKG_VERSION")),
        backtest,
        weaknesses,
    };
    let folder = save(&args.models, &fitted, &card)?;
    println!(
        "{} of {} windows fitted; model in {}",
        grouped(fitted.model.trained_rows),
        grouped(fitted.rows_seen),
        folder.display()
    );
    if left_out > 0 {
        println!("{} of findings marked true left out", count(left_out, "window"));
    }
    println!("use it with `detectors: {{ model: {} }}`", folder.join("model.json").display());
    Ok(())
}

/// How the findings with a fitted model compare with labels. All detectors judge: what the model adds are findings of
/// kind `profile`.
fn judged(settings: &Settings, input: &InputArgs, fitted: &Fitted, labels: &Path) -> Result<Report, Failure> {
    let labels = load_labels(labels)?;
    let settings = Settings { model: Some(Arc::new(fitted.model.clone())), ..settings.clone() };
    let mut revisions = Revisions { revisions: Vec::new(), bar: progress_bar("scoring") };
    run_replay(&settings, &input.input, None, &mut revisions).map_err(anyhow::Error::msg)?;
    revisions.bar.finish_and_clear();
    Ok(score(&labels, &revisions.revisions, GRACE))
}

/// Settings of a replay: the configuration's, with the inventory of the command line, and no age too old.
fn offline_settings(config: &ConfigArgs, inventory: Option<&PathBuf>) -> Result<Settings, Failure> {
    let mut settings = settings(config)?;
    if inventory.is_some() {
        settings.inventory.0 = inventory.cloned();
    }
    Ok(settings)
}

pub(crate) fn open(path: Option<&PathBuf>) -> anyhow::Result<Option<Box<dyn Write>>> {
    Ok(match path {
        None => None,
        Some(path) if path.as_os_str() == "-" => Some(Box::new(io::stdout())),
        Some(path) => {
            let file = File::create(path).with_context(|| format!("findings file `{}`", path.display()))?;
            Some(Box::new(BufWriter::new(file)))
        }
    })
}

fn print_summary(summary: &Summary) {
    if !summary.pairs.is_empty() {
        let mut rows = vec![["pair", "calls", "errors", "p50 ms", "p95 ms"].map(str::to_owned).to_vec()];
        for pair in &summary.pairs {
            let ms = |value: f64| format!("{value:.1}");
            rows.push(vec![
                format!("{} → {}", pair.pair.source, pair.pair.destination),
                grouped(pair.calls),
                grouped(pair.errors),
                ms(pair.latency_ms_p50),
                ms(pair.latency_ms_p95),
            ]);
        }
        println!("{}", table(&rows));
    }
    let mut rows = vec![vec!["finding".to_owned(), "opened".to_owned()]];
    rows.extend(summary.findings.iter().map(|(kind, n)| vec![kind.clone(), grouped(*n)]));
    if rows.len() > 1 {
        println!("{}", table(&rows));
    }
    let from = summary.first_received_at.as_deref().unwrap_or("-");
    let to = summary.last_received_at.as_deref().unwrap_or("-");
    println!(
        "{} in {}, {from} to {to}; {} late, {} rejected, {} malformed",
        count(summary.calls, "call"),
        count(summary.requests, "request"),
        grouped(summary.late_calls),
        grouped(summary.rejected),
        grouped(summary.malformed)
    );
    println!("{} redacted", count(summary.redactions.values().sum(), "value"));
}

struct FindingWriter {
    out: Option<Box<dyn Write>>,
    bar: ProgressBar,
}

impl Observer for FindingWriter {
    fn findings(&mut self, findings: Vec<Finding>) -> Result<(), String> {
        let Some(out) = &mut self.out else { return Ok(()) };
        for finding in &findings {
            let line = serde_json::to_string(finding).map_err(|e| e.to_string())?;
            writeln!(out, "{line}").map_err(|e| format!("findings file: {e}"))?;
        }
        Ok(())
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
}

struct Revisions {
    revisions: Vec<Revision>,
    bar: ProgressBar,
}

impl Observer for Revisions {
    fn findings(&mut self, findings: Vec<Finding>) -> Result<(), String> {
        self.revisions.extend(findings.iter().map(Revision::from));
        Ok(())
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
}

struct Collector {
    fitter: Fitter,
    until: Option<EventTime>,
    /// What people said of findings.
    said: Vec<Feedback>,
    window: Duration,
    left_out: u64,
    bar: ProgressBar,
}

impl Observer for Collector {
    fn findings(&mut self, _: Vec<Finding>) -> Result<(), String> {
        Ok(())
    }

    fn features(&mut self, rows: Vec<FeatureRow>) {
        for row in &rows {
            let end = row.window_start.plus(self.window);
            let (source, destination) = (&*row.pair.source, &*row.pair.destination);
            // What was the matter is not ordinary.
            let was_true = self.said.iter().any(|f| f.covers(source, destination, row.window_start, end));
            if was_true {
                self.left_out += 1;
            } else if self.until.is_none_or(|until| row.window_start < until) {
                self.fitter.offer(row);
            }
        }
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
}
