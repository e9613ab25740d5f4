//! What a backtest says, for people and for machines.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lapwing_telemetry::EventTime;
use serde::Serialize;

use super::revision::Judged;
use crate::labels::{Incident, Labels};

/// How findings compare with what was done. Shares are between 0 and 1, and `None` where nothing was counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Incidents that had to be found.
    pub incidents: usize,
    /// Those that were.
    pub detected: usize,
    /// Those that were found by a finding that says what they are.
    pub detected_as_right_kind: usize,
    /// The share of incidents that were found.
    pub recall: Option<f64>,
    /// The share that were found as what they are.
    pub right_kind_recall: Option<f64>,
    /// The recall of the kind with the lowest.
    pub worst_kind_recall: Option<f64>,
    /// The right-kind recall of the kind with the lowest.
    pub worst_right_kind_recall: Option<f64>,
    /// Detected incidents, of these and false findings together.
    pub precision: Option<f64>,
    /// False findings, those of one cause joined, and those that stood open too long.
    pub false_findings: usize,
    /// Of these, for standing open while nothing was the matter.
    pub false_by_standing_open: usize,
    /// False findings per day of the test part; `None` if the recording has no days.
    pub false_per_day: Option<f64>,
    /// Changes that had to raise nothing.
    pub hard_negatives: usize,
    /// Those that did raise something.
    pub hard_negatives_raised: usize,
    /// Findings of the right kind that came too late to count.
    pub late: usize,
    /// Findings on pairs that an incident moved in passing.
    pub neutral: usize,
    /// From an incident's start to the first answer, in minutes; the median over detected incidents.
    pub median_delay_min: Option<f64>,
    /// All findings that were scored.
    pub findings: usize,
    /// The same by kind of incident, in the order of the labels.
    pub kinds: Vec<KindScore>,
    /// The same by incident, in the order of the labels.
    pub by_incident: Vec<IncidentScore>,
    /// The kinds of false finding that each hard negative raised, by its id.
    pub raised: BTreeMap<String, Vec<String>>,
    /// Every false finding, before joining.
    pub false_list: Vec<FalseFinding>,
    #[serde(skip)]
    days: Option<f64>,
}

/// How the incidents of one kind were found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KindScore {
    /// The kind of incident.
    pub kind: String,
    /// How many there were.
    pub incidents: usize,
    /// How many were found.
    pub detected: usize,
    /// How many were found as what they are.
    pub right_kind: usize,
    /// From start to first answer, in minutes, for each that was found.
    pub delays_min: Vec<f64>,
}

/// How one incident was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidentScore {
    /// The incident.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// From its start to the first answer, in minutes; `None` if it was not found.
    pub delay_min: Option<f64>,
    /// Whether a finding said what it is.
    pub right_kind: bool,
    /// The ids of the findings that answer it.
    pub findings: Vec<String>,
}

/// A finding that nothing had been done for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FalseFinding {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// The calling service.
    pub source: Option<String>,
    /// The called service.
    pub destination: Option<String>,
    /// When it was opened, RFC 3339.
    pub opened_at: String,
    /// The hard negative that it is about, if it is about one.
    pub hard_negative: Option<String>,
}

impl Report {
    pub(super) fn new(labels: &Labels, findings: usize) -> Report {
        Report {
            incidents: 0,
            detected: 0,
            detected_as_right_kind: 0,
            recall: None,
            right_kind_recall: None,
            worst_kind_recall: None,
            worst_right_kind_recall: None,
            precision: None,
            false_findings: 0,
            false_by_standing_open: 0,
            false_per_day: None,
            hard_negatives: 0,
            hard_negatives_raised: 0,
            late: 0,
            neutral: 0,
            median_delay_min: None,
            findings,
            kinds: Vec::new(),
            by_incident: Vec::new(),
            raised: BTreeMap::new(),
            false_list: Vec::new(),
            days: labels.timeline.map(|timeline| timeline.test_days()),
        }
    }

    pub(super) fn add_incident(&mut self, label: &Incident, answers: &[(EventTime, &Judged)]) {
        let first = answers.iter().map(|(at, _)| *at).min();
        let right_kind = answers.iter().any(|(_, finding)| finding.named.fits(&label.kind));
        let delay_min = first.map(|at| (at.0 - label.start.0) as f64 / 60e6);
        self.by_incident.push(IncidentScore {
            id: label.id.clone(),
            kind: label.kind.clone(),
            delay_min,
            right_kind,
            findings: answers.iter().map(|(_, finding)| finding.id.clone()).collect(),
        });
        let idx = self.kinds.iter().position(|kind| kind.kind == label.kind).unwrap_or_else(|| {
            let kind = label.kind.clone();
            self.kinds.push(KindScore {
                kind,
                incidents: 0,
                detected: 0,
                right_kind: 0,
                delays_min: Vec::new(),
            });
            self.kinds.len() - 1
        });
        let kind = &mut self.kinds[idx];
        kind.incidents += 1;
        kind.detected += usize::from(delay_min.is_some());
        kind.right_kind += usize::from(right_kind);
        kind.delays_min.extend(delay_min);
    }

    pub(super) fn add_false(&mut self, finding: &Judged, hard_negative: Option<&str>) {
        if let Some(id) = hard_negative {
            self.raised.entry(id.to_owned()).or_default().push(finding.kind.clone());
        }
        self.false_list.push(FalseFinding {
            id: finding.id.clone(),
            kind: finding.kind.clone(),
            source: finding.source.clone(),
            destination: finding.destination.clone(),
            opened_at: finding.opened.to_string(),
            hard_negative: hard_negative.map(str::to_owned),
        });
    }

    /// Works out the shares once everything is counted.
    pub(super) fn conclude(&mut self, hard_negatives: usize) {
        self.hard_negatives = hard_negatives;
        self.hard_negatives_raised = self.raised.len();
        self.incidents = self.by_incident.len();
        self.detected = self.kinds.iter().map(|kind| kind.detected).sum();
        self.detected_as_right_kind = self.kinds.iter().map(|kind| kind.right_kind).sum();
        self.recall = share(self.detected, self.incidents);
        self.right_kind_recall = share(self.detected_as_right_kind, self.incidents);
        let worst = |count: fn(&KindScore) -> usize| {
            self.kinds.iter().filter_map(|kind| share(count(kind), kind.incidents)).min_by(f64::total_cmp)
        };
        self.worst_kind_recall = worst(|kind| kind.detected);
        self.worst_right_kind_recall = worst(|kind| kind.right_kind);
        self.precision = share(self.detected, self.detected + self.false_findings);
        self.false_per_day = self.days.map(|days| self.false_findings as f64 / days);
        self.median_delay_min =
            median(self.by_incident.iter().filter_map(|incident| incident.delay_min).collect());
    }

    /// The report as a table for people, one line per kind of incident and then the totals.
    pub fn to_table(&self) -> String {
        let mut lines = vec![["incident", "found", "as such", "median delay"].map(str::to_owned)];
        for kind in &self.kinds {
            lines.push([
                kind.kind.clone(),
                format!("{} of {}", kind.detected, kind.incidents),
                kind.right_kind.to_string(),
                minutes(median(kind.delays_min.clone())),
            ]);
        }
        lines.push([
            "all".to_owned(),
            format!("{} of {}", self.detected, self.incidents),
            self.detected_as_right_kind.to_string(),
            minutes(self.median_delay_min),
        ]);
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths = [0, 1, 2, 3].map(width);
        let mut text = String::new();
        for (n, [kind, found, right, delay]) in lines.iter().enumerate() {
            if n == 1 || n + 1 == lines.len() {
                let rule = "─".repeat(widths.iter().sum::<usize>() + 6);
                text.push_str(&rule);
                text.push('\n');
            }
            let [a, b, c, d] = widths;
            let _infallible = writeln!(text, "{kind:<a$}  {found:>b$}  {right:>c$}  {delay:>d$}");
        }
        text.push('\n');
        text.push_str(&self.totals());
        text
    }

    fn totals(&self) -> String {
        let per_day = match self.false_per_day {
            Some(n) => format!("{n:.2} per day"),
            None => "the recording has no days to count by".to_owned(),
        };
        let raised: Vec<_> =
            self.raised.iter().map(|(id, kinds)| format!("{id} ({})", kinds.join(", "))).collect();
        let raised = if raised.is_empty() { String::new() } else { format!(": {}", raised.join("; ")) };
        let percent =
            |share: Option<f64>| share.map_or("–".to_owned(), |share| format!("{:.1} %", share * 100.0));
        format!(
            "precision {}, recall {}, recall of the right kind {}, of the worst kind {}\n\
             false findings {} ({per_day}; {} by standing open), late {}, neutral {}, of {} findings\n\
             hard negatives that raised something {} of {}{raised}\n",
            percent(self.precision),
            percent(self.recall),
            percent(self.right_kind_recall),
            percent(self.worst_kind_recall),
            self.false_findings,
            self.false_by_standing_open,
            self.late,
            self.neutral,
            self.findings,
            self.hard_negatives_raised,
            self.hard_negatives,
        )
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn minutes(delay: Option<f64>) -> String {
    delay.map_or("–".to_owned(), |delay| format!("{delay:.1} min"))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    Some(if values.len().is_multiple_of(2) {
        f64::midpoint(values[values.len() / 2 - 1], upper)
    } else {
        upper
    })
}
