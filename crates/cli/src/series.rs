//! `replay --series`: numbers of another tool through the same budget of false findings.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context;
use lapwing_pipeline::series::{
    MetricKind, SeriesFinding, SeriesLimits, SeriesReport, SeriesSettings, moment, replay_series,
};

use crate::args::{OutputFormat, ReplayArgs};
use crate::offline::open;
use crate::output::{count, grouped, progress_bar, table};
use crate::run::system_clock;
use crate::{Failure, settings};

pub(crate) fn replay(file: &Path, args: &ReplayArgs) -> Result<(), Failure> {
    let train_until = args.series.train_until.as_deref().map(|text| {
        moment(text).with_context(|| {
            format!("--train-until `{text}` is not a time; expected RFC 3339, epoch seconds or milliseconds")
        })
    });
    if !(args.series.budget > 0.0 && args.series.budget.is_finite()) {
        return Err(anyhow::anyhow!("--budget must be more than 0; the default is 1 a day").into());
    }
    let series = SeriesSettings { budget: args.series.budget, train_until: train_until.transpose()? };
    let kinds =
        args.series.metric.iter().map(|text| kind(text)).collect::<anyhow::Result<BTreeMap<_, _>>>()?;
    let mut out = open(args.findings.as_ref())?;
    let mut redactor = settings(&args.config)?.redactor();
    redactor.set_time(system_clock()());
    let bar = progress_bar("judging");
    let (findings, report) =
        replay_series(file, &kinds, &series, &mut redactor, SeriesLimits::default(), &mut |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        })?;
    bar.finish_and_clear();
    if let Some(out) = &mut out {
        for finding in &findings {
            writeln!(out, "{}", serde_json::to_string(finding)?)?;
        }
        out.flush()?;
    }
    match args.format {
        OutputFormat::Json => println!("{}", serde_json::to_string(&report)?),
        OutputFormat::Table => print_summary(&findings, &report),
    }
    Ok(())
}

fn kind(text: &str) -> anyhow::Result<(String, MetricKind)> {
    let (name, kind) =
        text.rsplit_once('=').with_context(|| format!("--metric `{text}` is not `NAME=KIND`"))?;
    let kind = kind.parse().map_err(anyhow::Error::msg).with_context(|| format!("--metric `{text}`"))?;
    Ok((name.to_owned(), kind))
}

/// Incidents that the summary shows.
const SHOWN: usize = 20;

fn print_summary(findings: &[SeriesFinding], report: &SeriesReport) {
    let mut incidents: BTreeMap<u64, Vec<&SeriesFinding>> = BTreeMap::new();
    for finding in findings {
        incidents.entry(finding.incident).or_default().push(finding);
    }
    let mut rows = vec![["first known", "score", "findings", "probable origins"].map(str::to_owned).to_vec()];
    for members in incidents.values().take(SHOWN) {
        let best = members.iter().map(|f| f.score).fold(0.0, f64::max);
        let origins = members.last().map(|f| f.origins.join(", ")).unwrap_or_default();
        rows.push(vec![
            members[0].timestamp.to_string(),
            format!("{best:.1}"),
            grouped(members.len() as u64),
            origins,
        ]);
    }
    if incidents.is_empty() {
        println!("nothing unusual");
    } else {
        println!("{}", table(&rows));
    }
    if incidents.len() > SHOWN {
        println!("  and {} more; --findings writes all", count((incidents.len() - SHOWN) as u64, "incident"));
    }
    let judged = &report.judged;
    println!(
        "{}, {} ({} too short to judge): {} in {}",
        count(judged.samples, "sample"),
        grouped(judged.series) + " series",
        judged.not_judged,
        count(judged.findings, "finding"),
        count(judged.incidents, "incident"),
    );
}
