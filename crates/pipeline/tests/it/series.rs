//! What `replay --series` finds in the public sets of `datasets/series`, held by their labels.
//!
//! The same rules as `benches/series/score.py`, for sets of one warm-up: event level, no point adjustment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapwing_pipeline::series::{SeriesLimits, SeriesSettings, moment, replay_series};
use lapwing_redaction::{Redactor, Rules};

struct Score {
    found: usize,
    windows: usize,
    false_events: usize,
}

impl Score {
    fn f1(&self) -> f64 {
        2.0 * self.found as f64 / (self.found + self.false_events + self.windows) as f64
    }
}

fn score(set: &str, step: f64, renotify: f64) -> Score {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/series").join(set);
    let meta: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("meta.json")).unwrap()).unwrap();
    let until = meta["train"].as_object().unwrap().values().next().unwrap()[1].as_i64().unwrap();
    let settings = SeriesSettings { train_until: moment(&until.to_string()), ..SeriesSettings::default() };
    let file: PathBuf = folder.join("series.csv.gz");
    let mut redactor = Redactor::new(Arc::new(Rules::builtin()));
    let (findings, _) = replay_series(
        &file,
        &BTreeMap::new(),
        &settings,
        &mut redactor,
        SeriesLimits::default(),
        &mut |_, _| (),
    )
    .unwrap();
    let labels = std::fs::read_to_string(folder.join("labels.csv")).unwrap();
    let windows: Vec<(f64, f64)> = labels
        .lines()
        .skip(1)
        .map(|line| line.split(',').collect::<Vec<_>>())
        .map(|row| (row[1].parse().unwrap(), row[2].parse::<f64>().unwrap() + step))
        .filter(|(start, _)| *start > until as f64)
        .collect();
    let times: Vec<f64> = findings.iter().map(|f| f.timestamp.0 as f64 / 1e6).collect();
    let inside = |t: f64| windows.iter().any(|w| (w.0..=w.1).contains(&t));
    let found: Vec<_> = windows.iter().filter(|w| times.iter().any(|t| (w.0..=w.1).contains(t))).collect();
    let mut false_events = 0;
    let mut event: Option<(f64, f64)> = None;
    for t in times.iter().copied().filter(|t| !inside(*t)) {
        match &mut event {
            Some((first, last)) if t - *last <= 3.0 * step && t - *first <= renotify * step => *last = t,
            _ => {
                let way_back = found.iter().any(|w| (0.0..=3.0 * step).contains(&(t - w.1)));
                false_events += usize::from(!way_back);
                event = Some((t, t));
            }
        }
    }
    Score { found: found.len(), windows: windows.len(), false_events }
}

fn hold(set: &str, step: f64, renotify: f64, least: f64, most_false: usize) {
    let s = score(set, step, renotify);
    assert!(
        s.f1() >= least && s.false_events <= most_false,
        "{set}: {} of {} found, {} false, F1 {:.3}",
        s.found,
        s.windows,
        s.false_events,
        s.f1()
    );
}

#[test]
fn a_key_figure_of_a_web_company_is_judged_as_its_operators_did() {
    hold("kpi-donut", 300.0, 60.0, 0.85, 4);
}

#[test]
fn faults_injected_into_a_shop_are_found() {
    hold("nezha-ob-0822", 60.0, 6.0, 0.84, 6);
}

#[test]
fn issues_of_a_pet_shop_are_found() {
    hold("petshop-low", 300.0, 4.0, 0.90, 5);
}
