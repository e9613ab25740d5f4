//! `lapwing baseline`: what has been learned, for operators and auditors.

mod markdown;
mod page;

use std::path::Path;

use anyhow::Context;
use lapwing_pipeline::baselines::{PairBaseline, Readout, read};
use lapwing_pipeline::feedback::Verdict;
use lapwing_pipeline::replay::{Finding, Observer};
use lapwing_pipeline::warm_start::prepare;
use lapwing_telemetry::FindingState;

use crate::args::{
    BaselineCommand, BaselineExportArgs, BaselineShowArgs, ReportFormat, StateArgs, WarmStartArgs,
};
use crate::output::{count, progress_bar};
use crate::run::system_clock;
use crate::{Failure, settings};

pub(crate) fn baseline(action: &BaselineCommand) -> Result<(), Failure> {
    match action {
        BaselineCommand::Show(args) => show(args),
        BaselineCommand::Export(args) => export(args),
    }
}

/// Learns history into a state file.
pub(crate) fn warm_start(args: &WarmStartArgs) -> Result<(), Failure> {
    let mut settings = settings(&args.config)?;
    if let Some(dir) = &args.data_dir {
        settings = settings.with_data_dir(dir.clone());
    }
    if args.inventory.is_some() {
        settings.inventory.0.clone_from(&args.inventory);
    }
    let mut silent = Silent { bar: progress_bar("learning"), opened: 0 };
    let (engines, summary) = prepare(&settings, &args.input, &mut silent).map_err(anyhow::Error::msg)?;
    silent.bar.finish_and_clear();
    let baselines = engines.baselines();
    let young = baselines.pairs.iter().filter(|pair| pair.hours_learned < 24).count();
    println!(
        "Learned {} of {}, {} to {}, into {}",
        count(summary.calls, "call"),
        count(baselines.pairs.len() as u64, "pair"),
        summary.first_received_at.as_deref().unwrap_or("-"),
        summary.last_received_at.as_deref().unwrap_or("-"),
        settings.state_file().display()
    );
    println!("{} on the way, not published", count(silent.opened, "finding"));
    if young > 0 {
        println!(
            "{} less than 24 h of history and cannot be judged by every detector yet; `lapwing baseline show` says what is missing",
            if young == 1 { "1 pair has".to_owned() } else { format!("{young} pairs have") }
        );
    }
    Ok(())
}

struct Silent {
    bar: indicatif::ProgressBar,
    opened: u64,
}

impl Observer for Silent {
    fn findings(&mut self, findings: Vec<Finding>) -> Result<(), String> {
        self.opened += findings.iter().filter(|f| f.state == FindingState::Open).count() as u64;
        Ok(())
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
}

fn show(args: &BaselineShowArgs) -> Result<(), Failure> {
    let mut readout = readout(&args.from)?;
    if let Some(top) = args.top {
        let pairs = &mut readout.baselines.pairs;
        pairs.sort_by(|a, b| b.calls.cmp(&a.calls).then_with(|| a.pair.cmp(&b.pair)));
        pairs.truncate(top);
    }
    match args.format {
        ReportFormat::Table => print!("{}", page::page(&readout)),
        ReportFormat::Json => println!("{}", json(&readout)?),
        ReportFormat::Markdown => print!("{}", markdown::report(&readout, &now())),
    }
    Ok(())
}

fn export(args: &BaselineExportArgs) -> Result<(), Failure> {
    let readout = readout(&args.from)?;
    let extension = args.output.extension().and_then(|e| e.to_str());
    let content = match extension {
        Some("json") => json(&readout)? + "\n",
        Some("md" | "markdown") => markdown::report(&readout, &now()),
        _ => {
            return Err(anyhow::anyhow!(
                "`{}` does not say in which format: end it in .json or .md",
                args.output.display()
            )
            .into());
        }
    };
    write(&args.output, &content)?;
    println!(
        "{} pairs to {}; state {} (sha256 {})",
        readout.baselines.pairs.len(),
        args.output.display(),
        readout.state_file.display(),
        readout.state_sha256
    );
    Ok(())
}

/// Writes a file whole: beside its place, then renamed.
fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".draft");
    std::fs::write(&draft, content)
        .and_then(|()| std::fs::rename(&draft, path))
        .with_context(|| format!("export `{}`", path.display()))
}

fn readout(args: &StateArgs) -> Result<Readout, Failure> {
    let mut settings = settings(&args.config)?;
    if let Some(dir) = &args.data_dir {
        settings = settings.with_data_dir(dir.clone());
    }
    let file = args.state.clone().unwrap_or_else(|| settings.state_file());
    let mut readout = read(&settings, &file).map_err(anyhow::Error::msg)?;
    readout.baselines.select(&args.source, &args.destination);
    Ok(readout)
}

/// The readout with the moment at which it was taken.
fn json(readout: &Readout) -> anyhow::Result<String> {
    let mut value = serde_json::to_value(readout)?;
    value["exported_at"] = now().into();
    Ok(serde_json::to_string_pretty(&value)?)
}

fn now() -> String {
    system_clock()().to_string()
}

fn name(pair: &PairBaseline) -> String {
    format!("{} → {}", pair.pair.source, pair.pair.destination)
}

/// A number with about three digits that count; `-` if there is none.
fn short(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(v) if v >= 100.0 => crate::output::grouped(v.round() as u64),
        Some(v) if v >= 10.0 => format!("{v:.1}"),
        Some(v) if v >= 1.0 || v == 0.0 => format!("{v:.2}"),
        Some(v) => format!("{v:.3}"),
    }
}

/// How long a pair has been watched.
fn learned(pair: &PairBaseline) -> String {
    match pair.hours_learned {
        h if h < 48 => format!("{h} h"),
        h => format!("{} d", h / 24),
    }
}

/// One character for each hour of one kind of day: its height is the share of the largest hour of the week (of one call at least); `·` was
/// never watched.
fn sparkline(pair: &PairBaseline, weekend: bool) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    // A pair of less than a call an hour has no shape worth drawing large.
    let most = pair.hours.iter().filter_map(|h| h.calls).fold(1.0, f64::max);
    let bar = |calls: f64| BARS[((calls / most * 7.0).round() as usize).min(7)];
    let hours = pair.hours.iter().filter(|h| h.weekend == weekend);
    hours.map(|h| h.calls.map_or('·', bar)).collect()
}

/// What people said of findings beside the budget, in one sentence; `None` if nothing.
fn feedback(readout: &Readout) -> Option<String> {
    let n = |verdict| readout.feedback.iter().filter(|f| f.verdict == verdict).count();
    let (is_true, is_false) = (n(Verdict::True), n(Verdict::False));
    let days = match (readout.baselines.reports_from, readout.baselines.up_to) {
        (Some(from), Some(to)) => to.since(from).as_secs_f64() / 86_400.0,
        _ => 0.0,
    };
    (is_true + is_false > 0).then(|| {
        let rate = if days >= 1.0 {
            format!(
                ", {:.2} false a day where the budget accepts {}",
                is_false as f64 / days,
                readout.baselines.budget_per_day
            )
        } else {
            String::new()
        };
        format!("Feedback: {} marked true, {is_false} false{rate}.", count(is_true as u64, "finding"))
    })
}

/// Where the numbers come from, in one sentence.
fn period(readout: &Readout) -> String {
    let baselines = &readout.baselines;
    let (Some(from), Some(to)) = (baselines.began_at, baselines.up_to) else {
        return "No call has been counted yet.".to_owned();
    };
    let days = to.since(from).as_secs_f64() / 86_400.0;
    let reports = baselines.reports_from.map(|at| at.to_string()).unwrap_or_default();
    format!(
        "Learned from calls received {from} to {to} ({days:.1} days); findings are reported from {reports} on."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_absent_ones_are_said() {
        let said = [None, Some(0.0), Some(0.0123), Some(3.456), Some(45.67), Some(1_234.5)].map(short);
        assert_eq!(said, ["-", "0.00", "0.012", "3.46", "45.7", "1 235"]);
    }
}
