//! The card that goes with a model: what it was fitted on, how well it does, and what it cannot do.

use std::fmt::Write as _;

use crate::backtest::Report;
use crate::fit::Fitted;

/// What is known of a model beyond its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// Hash of the recordings it was fitted on: see [`data_hash`](crate::manifest::data_hash).
    pub data_hash: String,
    /// The recordings in words, for example their names.
    pub data: String,
    /// Hash of the detector settings in force when the rows were collected.
    pub settings_hash: String,
    /// Version of the program that fitted it.
    pub fitted_by: String,
    /// How findings with this model compare with labels; `None` if there were none to compare with.
    pub backtest: Option<Report>,
    /// What else a user must know.
    pub weaknesses: Vec<String>,
}

impl Card {
    /// The card as Markdown.
    pub fn to_markdown(&self, version: u32, fitted: &Fitted) -> String {
        let model = &fitted.model;
        let mut text = String::new();
        let mut line = |line: std::fmt::Arguments<'_>| {
            let _infallible = writeln!(text, "{line}");
        };
        line(format_args!("# Model `{}`, version {version}\n", model.name));
        line(format_args!(
            "Principal components of {} features of a window of {} s of a pair. A window is unusual if it lies far\n\
             from the ordinary ones, along or off the {} directions in which those vary. A score of 1 is typical.\n",
            model.features.len(),
            model.window_s,
            fitted.explained.len(),
        ));
        line(format_args!("## Data\n"));
        line(format_args!("| | |\n|---|---|"));
        line(format_args!("| recordings | {} |", self.data));
        line(format_args!("| SHA-256 | `{}` |", self.data_hash));
        line(format_args!("| time | {} to {} |", fitted.from, fitted.to));
        line(format_args!("| pairs | {} |", fitted.pairs));
        line(format_args!("| windows | {} seen, {} used |", fitted.rows_seen, model.trained_rows));
        line(format_args!("| windows left out, a feature not finite | {} |", fitted.rows_not_finite));
        line(format_args!("| settings | `{}` |", self.settings_hash));
        line(format_args!("| fitted by | {} |", self.fitted_by));
        line(format_args!("\n## Features (version {})\n", model.feature_version));
        line(format_args!("| feature | mean | scale |\n|---|---:|---:|"));
        for ((name, mean), scale) in model.features.iter().zip(&model.mean).zip(&model.scale) {
            line(format_args!("| {name} | {mean:.4} | {scale:.4} |"));
        }
        line(format_args!("\n## Components\n"));
        line(format_args!("| component | explained variance | together |\n|---|---:|---:|"));
        let mut together = 0.0;
        for (n, explained) in fitted.explained.iter().enumerate() {
            together += explained;
            line(format_args!("| {} | {:.1} % | {:.1} % |", n + 1, explained * 100.0, together * 100.0));
        }
        line(format_args!("\n## Scores of the training windows\n"));
        line(format_args!("| | score |\n|---|---:|"));
        for (share, score) in &fitted.score_quantiles {
            line(format_args!("| {} % of windows at most | {score:.4} |", share * 100.0));
        }
        line(format_args!("| **threshold** | **{:.4}** |", model.threshold));
        line(format_args!(
            "\nThe threshold is the quantile {} of these scores, times {} for what training has not seen.",
            fitted.quantile, fitted.margin,
        ));
        line(format_args!("\n## Backtest\n"));
        match &self.backtest {
            Some(report) => line(format_args!("```text\n{}```", report.to_table())),
            None => line(format_args!("None: no labels were given.")),
        }
        line(format_args!("\n## Known weaknesses\n"));
        for weakness in WEAKNESSES.iter().copied().chain(self.weaknesses.iter().map(String::as_str)) {
            line(format_args!("- {weakness}"));
        }
        text
    }
}

/// What holds for every model of this form.
const WEAKNESSES: &[&str] = &[
    "It knows the mesh it was fitted on. In another, with other rhythms or windows, fit anew.",
    "It takes its data for ordinary: an incident among the training windows widens what it lets pass.",
    "It says that a window is unlike the others, not what is wrong with it.",
    "Windows with few calls vary by chance; their scores say little.",
];
