//! `lapwing simulate`: the same recording under two configurations, and what would be found differently.

use std::fmt::Write as _;
use std::process::ExitCode;

use lapwing_pipeline::config::Config;
use lapwing_pipeline::replay::{Finding, Observer, replay};
use lapwing_pipeline::settings::Settings;
use lapwing_training::backtest::{GRACE, Report};
use lapwing_training::compare::Comparison;
use lapwing_training::{Labels, Revision, load_labels, score};
use serde_json::Value;

use crate::Failure;
use crate::args::{OutputFormat, SimulateArgs};
use crate::output::{count, progress_bar, table};
use crate::plot::minute;

/// Findings of each sort that are printed for people; `--format json` has all.
const PRINTED: usize = 40;
/// Keys that can change findings. Others may hold secrets, and are not compared.
const COMPARED: [&str; 5] = ["receivers", "inventory", "log", "redaction", "detectors"];

/// Fails only if the findings differ and `--exit-code` is given.
pub(crate) fn simulate(args: &SimulateArgs) -> Result<ExitCode, Failure> {
    let (config_a, config_b) = configs(args)?;
    let differences = differences(&config_a, &config_b)?;
    let labels = args.labels.as_deref().map(load_labels).transpose()?;
    let (a, b) = std::thread::scope(|scope| {
        // The two share nothing, so they run side by side.
        let of_a = scope.spawn(|| run(&config_a, args));
        let of_b = run(&config_b, args);
        let of_a = of_a.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the replay of A panicked").into()));
        (of_a, of_b)
    });
    let (a, b) = (a?, b?);
    let comparison = Comparison::of(&a, &b);
    let scores = labels.as_ref().map(|labels| [&a, &b].map(|findings| scored(labels, findings)));
    match args.format {
        OutputFormat::Json => {
            let mut value = serde_json::to_value(&comparison)?;
            value["settings"] = serde_json::to_value(&differences)?;
            value["scores"] = serde_json::to_value(&scores)?;
            println!("{}", serde_json::to_string(&value)?);
        }
        OutputFormat::Table => print!("{}", page(&comparison, &differences, scores.as_ref())),
    }
    let failed = args.exit_code && !comparison.is_same();
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn configs(args: &SimulateArgs) -> Result<(Config, Config), Failure> {
    let (a, b) = match args.config.as_slice() {
        [both] => (both, both),
        [a, b] => (a, b),
        _ => return Err(anyhow::anyhow!("give --config twice, A and B, or once with --set-b").into()),
    };
    if a == b && args.set_b.is_empty() {
        return Err(
            anyhow::anyhow!("A and B are the same configuration; give another --config or --set-b").into()
        );
    }
    let sets_b = [args.set.as_slice(), args.set_b.as_slice()].concat();
    let config_a = Config::read(std::slice::from_ref(a), &args.set).map_err(Failure::Config)?;
    let config_b = Config::read(std::slice::from_ref(b), &sets_b).map_err(Failure::Config)?;
    Ok((config_a, config_b))
}

fn run(config: &Config, args: &SimulateArgs) -> Result<Vec<Finding>, Failure> {
    let mut settings = Settings::of(config).map_err(Failure::Config)?;
    if args.inventory.is_some() {
        settings.inventory.0.clone_from(&args.inventory);
    }
    let mut collector = Collector { findings: Vec::new(), bar: progress_bar("replaying") };
    replay(&settings, &args.input, None, &mut collector).map_err(anyhow::Error::msg)?;
    collector.bar.finish_and_clear();
    Ok(collector.findings)
}

struct Collector {
    findings: Vec<Finding>,
    bar: indicatif::ProgressBar,
}

impl Observer for Collector {
    fn findings(&mut self, findings: Vec<Finding>) -> Result<(), String> {
        self.findings.extend(findings);
        Ok(())
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
}

fn scored(labels: &Labels, findings: &[Finding]) -> Report {
    let revisions: Vec<Revision> = findings.iter().map(Revision::from).collect();
    score(labels, &revisions, GRACE)
}

/// A setting that is not the same in both.
#[derive(serde::Serialize)]
struct Difference {
    key: String,
    a: Value,
    b: Value,
}

fn differences(a: &Config, b: &Config) -> Result<Vec<Difference>, Failure> {
    let (a, b) = (serde_json::to_value(&a.file)?, serde_json::to_value(&b.file)?);
    let mut found = Vec::new();
    for key in COMPARED {
        compare(key, &a[key], &b[key], &mut found);
    }
    Ok(found)
}

fn compare(key: &str, a: &Value, b: &Value, found: &mut Vec<Difference>) {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let mut names: Vec<&String> = x.keys().chain(y.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                compare(&format!("{key}.{name}"), &a[name], &b[name], found);
            }
        }
        _ if a == b => {}
        _ => found.push(Difference { key: key.to_owned(), a: a.clone(), b: b.clone() }),
    }
}

fn page(comparison: &Comparison, differences: &[Difference], scores: Option<&[Report; 2]>) -> String {
    let mut text = String::new();
    let mut rows = vec![["setting", "A", "B"].map(str::to_owned).to_vec()];
    rows.extend(differences.iter().map(|d| vec![d.key.clone(), d.a.to_string(), d.b.to_string()]));
    if differences.is_empty() {
        text.push_str("  No setting that can change findings differs.\n");
    } else {
        text.push_str(&table(&rows));
    }
    text.push('\n');
    let mut rows = vec![["finding", "A", "B", "appeared", "vanished", "changed"].map(str::to_owned).to_vec()];
    let mut sum = [0; 5];
    for (kind, n) in &comparison.kinds {
        let cells = [n.a, n.b, n.appeared, n.vanished, n.changed];
        sum.iter_mut().zip(cells).for_each(|(sum, n)| *sum += n);
        rows.push(std::iter::once(kind.clone()).chain(cells.map(|n| n.to_string())).collect());
    }
    rows.push(std::iter::once("all".to_owned()).chain(sum.map(|n| n.to_string())).collect());
    text.push_str(&table(&rows));
    for (title, sign, findings) in
        [("Appeared", "+", &comparison.appeared), ("Vanished", "-", &comparison.vanished)]
    {
        list(&mut text, title, findings.len(), findings.iter().map(|f| format!("{sign} {}", line(f))));
    }
    let changed = comparison.changed.iter().map(|c| format!("~ {}: {}", line(&c.a), c.how.join(", ")));
    list(&mut text, "Changed", comparison.changed.len(), changed);
    if let Some([a, b]) = scores {
        text.push_str("\nAgainst the labels\n");
        text.push_str(&table(&score_rows(a, b)));
    }
    let _infallible = writeln!(
        text,
        "
{} the same in both",
        count(comparison.unchanged as u64, "finding")
    );
    text
}

fn list(text: &mut String, title: &str, n: usize, lines: impl Iterator<Item = String>) {
    if n == 0 {
        return;
    }
    let _infallible = writeln!(text, "\n{title}");
    for line in lines.take(PRINTED) {
        let _infallible = writeln!(text, "  {line}");
    }
    if n > PRINTED {
        let _infallible = writeln!(text, "  and {} more", n - PRINTED);
    }
}

fn line(f: &Finding) -> String {
    let name = |service: &Option<String>| service.clone().unwrap_or_else(|| "*".to_owned());
    format!(
        "{} {} {} → {} {} {}",
        minute(f.opened_at),
        f.kind,
        name(&f.source),
        name(&f.destination),
        f.severity.as_str(),
        f.id.get(..9).unwrap_or(&f.id)
    )
}

fn score_rows(a: &Report, b: &Report) -> Vec<Vec<String>> {
    let decimal = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.2}"));
    let row = |what: &str, of: &dyn Fn(&Report) -> String| vec![what.to_owned(), of(a), of(b)];
    vec![
        ["", "A", "B"].map(str::to_owned).to_vec(),
        row("found", &|r| format!("{} of {}", r.detected, r.incidents)),
        row("found as what they are", &|r| r.detected_as_right_kind.to_string()),
        row("median delay, min", &|r| decimal(r.median_delay_min)),
        row("false findings", &|r| r.false_findings.to_string()),
        row("false a day", &|r| decimal(r.false_per_day)),
        row("hard negatives raised", &|r| format!("{} of {}", r.hard_negatives_raised, r.hard_negatives)),
    ]
}
