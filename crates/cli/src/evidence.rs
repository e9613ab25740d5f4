//! `lapwing explain`: why a finding was made, in numbers, and how it looked.
//!
//! The finding comes from the findings file; what was seen and expected before it from the archive, through the same
//! engines: a replay makes the same findings, so its windows are those that were judged.

mod measure;
mod page;
mod trace;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use lapwing_pipeline::replay::Finding;
use lapwing_pipeline::settings::Settings;

use crate::args::{ExplainArgs, OutputFormat};
use crate::plot::{Chart, Point, svg};
use crate::{Failure, settings};

/// Findings that are listed beside; the rest is counted.
const MAX_OTHERS: usize = 12;
/// How long before and after a finding opened others are listed.
const BESIDE: std::time::Duration = std::time::Duration::from_secs(75 * 60);

/// All that is known of a finding.
#[derive(serde::Serialize)]
pub(crate) struct Evidence {
    /// The first revision, and the latest where there are more.
    pub(crate) opened: Finding,
    pub(crate) latest: Finding,
    /// Findings of the same incident, and others that opened at about the same time.
    pub(crate) beside: Vec<Beside>,
    /// How many more there are than listed.
    pub(crate) beside_not_listed: usize,
    /// The windows before and after, if there was something to replay.
    pub(crate) windows: Option<Windows>,
    /// Why there are none.
    pub(crate) no_windows: Option<String>,
}

/// Another finding.
#[derive(serde::Serialize)]
pub(crate) struct Beside {
    pub(crate) same_incident: bool,
    pub(crate) opened: Finding,
}

/// What was seen and expected, window by window.
#[derive(serde::Serialize)]
pub(crate) struct Windows {
    /// What is measured.
    pub(crate) measure: &'static str,
    pub(crate) unit: String,
    /// Whether the replay made the same finding, by id.
    pub(crate) found_again: bool,
    /// Hours that the baseline had learned when it opened.
    pub(crate) hours_learned: u32,
    /// Calls replayed, and when the first arrived.
    pub(crate) calls_replayed: u64,
    pub(crate) from: String,
    /// Times in microseconds since the epoch.
    pub(crate) points: Vec<Point>,
}

pub(crate) fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    let mut settings = settings(&args.config)?;
    if let Some(dir) = &args.data_dir {
        settings = settings.with_data_dir(dir.clone());
    }
    if args.inventory.is_some() {
        settings.inventory.0.clone_from(&args.inventory);
    }
    let file = args.findings.clone().unwrap_or_else(|| settings.findings_file());
    let mut evidence = gather(&file, &args.id)?;
    match inputs(args, &settings) {
        Ok(inputs) => match trace::windows(&settings, &inputs, &evidence, args.days)? {
            Ok(windows) => evidence.windows = Some(windows),
            Err(reason) => evidence.no_windows = Some(reason),
        },
        Err(reason) => evidence.no_windows = Some(reason),
    }
    let chart = evidence.windows.as_ref().map(|windows| chart(&evidence, windows));
    if let Some(path) = &args.output {
        let Some(chart) = &chart else {
            let reason = evidence.no_windows.as_deref().unwrap_or("there are no windows");
            return Err(anyhow::anyhow!("no plot `{}`: {reason}", path.display()).into());
        };
        if path.extension().is_none_or(|e| e != "svg") {
            return Err(
                anyhow::anyhow!("plot `{}`: only SVG is drawn; end it in .svg", path.display()).into()
            );
        }
        let drawn = svg::draw(chart).map_err(|e| anyhow::anyhow!("plot `{}`: {e}", path.display()))?;
        std::fs::write(path, drawn).with_context(|| format!("plot `{}`", path.display()))?;
    }
    match args.format {
        OutputFormat::Json => println!("{}", serde_json::to_string_pretty(&evidence)?),
        OutputFormat::Table => print!("{}", page::page(&evidence, chart.as_ref())),
    }
    Ok(())
}

/// What to replay: what the command line says, or the archive.
fn inputs(args: &ExplainArgs, settings: &Settings) -> Result<Vec<PathBuf>, String> {
    if !args.input.is_empty() {
        return Ok(args.input.clone());
    }
    let archive = settings.archive_dir();
    if archive.is_dir() {
        return Ok(vec![archive]);
    }
    Err(format!("there is no archive `{}` to replay; name a recording with --input", archive.display()))
}

/// Finds the finding and what opened beside it.
fn gather(file: &Path, id: &str) -> anyhow::Result<Evidence> {
    let mut found: BTreeMap<String, (Finding, Finding)> = BTreeMap::new();
    let mut others: BTreeMap<String, Finding> = BTreeMap::new();
    let content = File::open(file).with_context(|| {
        format!(
            "findings file `{}`: name the running process's --config, or the file with --findings",
            file.display()
        )
    })?;
    for (n, line) in BufReader::new(content).lines().enumerate() {
        let line = line.with_context(|| format!("findings file `{}`", file.display()))?;
        if line.trim().is_empty() {
            continue;
        }
        // The reason may quote the line, so it is left out.
        let Ok(finding) = serde_json::from_str::<Finding>(&line) else {
            bail!("findings file `{}` line {}: not a finding in the native format", file.display(), n + 1);
        };
        if finding.id.starts_with(id) {
            let (first, last) = found.entry(finding.id.clone()).or_insert((finding.clone(), finding.clone()));
            if finding.revision < first.revision {
                *first = finding.clone();
            }
            if finding.revision >= last.revision {
                *last = finding.clone();
            }
        }
        let known = others.entry(finding.id.clone()).or_insert_with(|| finding.clone());
        if finding.revision < known.revision {
            *known = finding;
        }
    }
    let mut found = found.into_values();
    let (Some((opened, latest)), None) = (found.next(), found.next()) else {
        let n = others.keys().filter(|known| known.starts_with(id)).count();
        if n == 0 {
            bail!("no finding `{id}` among {} in `{}`", others.len(), file.display());
        }
        bail!("`{id}` begins the ids of {n} findings in `{}`: write more of it", file.display());
    };
    let near = |other: &Finding| {
        let apart = opened.opened_at.since(other.opened_at).max(other.opened_at.since(opened.opened_at));
        other.cluster == opened.cluster && apart <= BESIDE
    };
    let mut beside: Vec<Beside> = others
        .into_values()
        .filter(|other| other.id != opened.id)
        .map(|other| Beside { same_incident: other.incident == latest.incident, opened: other })
        .filter(|other| other.same_incident || near(&other.opened))
        .collect();
    beside.sort_by_key(|other| (!other.same_incident, other.opened.opened_at));
    let beside_not_listed = beside.len().saturating_sub(MAX_OTHERS);
    beside.truncate(MAX_OTHERS);
    Ok(Evidence { opened, latest, beside, beside_not_listed, windows: None, no_windows: None })
}

fn chart(evidence: &Evidence, windows: &Windows) -> Chart {
    let (opened, latest) = (&evidence.opened, &evidence.latest);
    let who = match (&opened.source, &opened.destination) {
        (Some(source), Some(destination)) => format!("{source} → {destination}"),
        (Some(only), None) | (None, Some(only)) => only.clone(),
        (None, None) => "the mesh".to_owned(),
    };
    Chart {
        title: format!("{who}: {}, {}", windows.measure, opened.kind),
        unit: windows.unit.clone(),
        points: windows.points.clone(),
        marked: (opened.window_start, latest.window_end),
        moments: evidence.beside.iter().map(|other| other.opened.opened_at).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_unknown_or_cut_too_short_says_so_and_a_bad_line_is_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("findings.ndjson");
        std::fs::write(&file, "").unwrap();
        let said = |id: &str| gather(&file, id).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(said("lw-1").contains("no finding `lw-1` among 0"), "{}", said("lw-1"));
        std::fs::write(&file, "planted-secret\n").unwrap();
        assert!(said("lw-1").contains("line 1: not a finding") && !said("lw-1").contains("planted"));
    }
}
