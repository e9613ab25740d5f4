//! From feature rows to the numbers of a model: choose rows, scale, find components, set the threshold.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::principal::{Principal, principal};
use crate::sample::RowSample;

/// One closed window of a pair, as features.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// What names the row among all rows: the pair's names and the window's start. It decides whether the row
    /// is chosen when there are too many.
    pub key: &'a [&'a [u8]],
    /// The values of its features, in the order of their names.
    pub values: &'a [f32],
}

/// The fitted numbers, and all that a card says of how they came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// What goes into `model.json`.
    pub model: Numbers,
    /// The share of the total variance along each component.
    pub explained: Vec<f64>,
    /// Windows offered.
    pub rows_seen: u64,
    /// Windows left out because a feature was not a finite number.
    pub rows_not_finite: u64,
    /// Windows that the numbers were fitted on.
    pub rows_used: usize,
    /// Scores of these windows: share of windows, and the score they do not exceed.
    pub score_quantiles: Vec<(f64, f64)>,
    /// The share of windows that the threshold was set by.
    pub quantile: f64,
    /// What the score at that share was multiplied by.
    pub margin: f64,
}

/// A model in plain numbers: how far from ordinary is a window of a pair?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numbers {
    /// The model's name.
    pub name: String,
    /// The version of the features it was fitted with; features of another version mean something else.
    pub feature_version: u32,
    /// The features, in order.
    pub features: Vec<String>,
    /// Mean of each feature.
    pub mean: Vec<f64>,
    /// Standard deviation of each feature; 1 for one that never varied.
    pub scale: Vec<f64>,
    /// Orthonormal directions in which ordinary windows vary, one weight per feature each.
    pub components: Vec<Vec<f64>>,
    /// Windows with a higher score are unusual.
    pub threshold: f64,
}

impl Numbers {
    /// The score of a window: how far it lies from everything that the components can explain, as the root mean
    /// square over the features, in standard deviations. The square times the number of features is the
    /// Q statistic of Jackson and Mudholkar (Technometrics 21, 1979).
    pub fn score(&self, values: &[f32]) -> f64 {
        let scaled: Vec<f64> = values
            .iter()
            .zip(&self.mean)
            .zip(&self.scale)
            .map(|((x, mean), scale)| (f64::from(*x) - mean) / scale)
            .collect();
        let mut rest = scaled.clone();
        for component in &self.components {
            let along: f64 = component.iter().zip(&scaled).map(|(c, z)| c * z).sum();
            for (rest, c) in rest.iter_mut().zip(component) {
                *rest -= along * c;
            }
        }
        (rest.iter().map(|x| x * x).sum::<f64>() / rest.len().max(1) as f64).sqrt()
    }
}

/// Collects rows in bounded memory, then fits.
#[derive(Clone, Debug)]
pub struct Fitter {
    options: FitOptions,
    feature_version: u32,
    features: Vec<String>,
    sample: RowSample,
}

impl Fitter {
    /// Makes a fitter for features of these names.
    pub fn new(options: FitOptions, feature_version: u32, features: &[&str]) -> Result<Fitter, TrainError> {
        options.check()?;
        let features = features.iter().map(|&name| name.to_owned()).collect();
        Ok(Fitter { sample: RowSample::new(options.max_rows), options, feature_version, features })
    }

    /// Offers a row; one whose values are not as many as the features is not finite somewhere, and counted so.
    pub fn offer(&mut self, row: Row<'_>) {
        self.sample.offer(row.key, row.values, self.features.len());
    }

    /// Fits the numbers to the rows.
    pub fn fit(self) -> Result<Fitted, TrainError> {
        let (seen, not_finite) = (self.sample.seen, self.sample.not_finite);
        let rows = self.sample.into_matrix(self.features.len());
        if rows.nrows() < MIN_ROWS {
            return Err(TrainError::TooFewRows { usable: rows.nrows(), seen, not_finite });
        }
        let found = principal(&rows, self.options.explained)
            .map_err(|error| TrainError::Decompose { rows: rows.nrows(), reason: error.to_string() })?;
        if found.total_variance == 0.0 {
            return Err(TrainError::NothingVaries { rows: rows.nrows() });
        }
        let mut model = numbers(&found, self.options.name, self.feature_version, self.features);
        let scores = scores(&model, &rows);
        model.threshold = quantile(&scores, self.options.quantile) * self.options.margin;
        Ok(Fitted {
            explained: found.explained().into_iter().take(model.components.len()).collect(),
            model,
            rows_seen: seen,
            rows_not_finite: not_finite,
            rows_used: rows.nrows(),
            score_quantiles: [0.5, 0.9, 0.99, 0.999, 1.0]
                .map(|share| (share, quantile(&scores, share)))
                .to_vec(),
            quantile: self.options.quantile,
            margin: self.options.margin,
        })
    }
}

/// Keeps one direction at least out of the components: were all kept, every window would be explained.
fn numbers(found: &Principal, name: String, feature_version: u32, features: Vec<String>) -> Numbers {
    let n_kept = found.components.nrows().min(found.total_variance as usize - 1);
    Numbers {
        name,
        feature_version,
        features,
        mean: found.mean.to_vec(),
        scale: found.scale.to_vec(),
        components: found.components.rows().into_iter().take(n_kept).map(|row| row.to_vec()).collect(),
        threshold: f64::INFINITY,
    }
}

/// The scores of the training rows, lowest first.
fn scores(model: &Numbers, rows: &Array2<f64>) -> Vec<f64> {
    // The rows came as f32, so nothing is lost on the way back.
    let score =
        |row: ndarray::ArrayView1<'_, f64>| model.score(&row.iter().map(|x| *x as f32).collect::<Vec<_>>());
    let mut scores: Vec<f64> = rows.rows().into_iter().map(score).collect();
    scores.sort_by(f64::total_cmp);
    scores
}

/// The smallest of the sorted values that `share` of them do not exceed (the inverse of the empirical
/// distribution: type 1 of Hyndman and Fan, The American Statistician 50, 1996).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// How a model is fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct FitOptions {
    /// The model's name: the folder below `models`.
    pub name: String,
    /// The most rows a matrix is made of; of more, so many are chosen. Bounds memory at some tens of bytes a
    /// feature and row.
    pub max_rows: usize,
    /// The share of the variance that the kept components must explain, above 0 and up to 1.
    pub explained: f64,
    /// The share of training windows that score at or below the threshold before the margin, above 0 and up to 1.
    pub quantile: f64,
    /// What the score at that quantile is multiplied by to make the threshold, at least 1.
    pub margin: f64,
}

impl FitOptions {
    /// The usual options for a model of that name: components for 0.95 of the variance, and a threshold a
    /// quarter above what 0.999 of the training windows score, so that chance passes it less than once in a
    /// thousand windows. 50 000 rows leave 50 windows above that quantile, enough to place it.
    pub fn named(name: &str) -> FitOptions {
        FitOptions { name: name.to_owned(), max_rows: 50_000, explained: 0.95, quantile: 0.999, margin: 1.25 }
    }

    fn check(&self) -> Result<(), TrainError> {
        let share = |value: f64| value > 0.0 && value <= 1.0;
        let wrong = |option, why| Err(TrainError::Option { option, why });
        if !share(self.explained) {
            return wrong("explained", "must be above 0 and at most 1");
        }
        if !share(self.quantile) {
            return wrong("quantile", "must be above 0 and at most 1");
        }
        if !(self.margin >= 1.0 && self.margin.is_finite()) {
            return wrong("margin", "must be 1 or more");
        }
        if self.max_rows < MIN_ROWS {
            return wrong("max_rows", "must be 100 or more");
        }
        Ok(())
    }
}

/// Fewer rows say nothing about a high quantile.
const MIN_ROWS: usize = 100;

/// Why no model could be fitted. Every variant is `Rejected`: the same rows will not do next time either.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// An option is out of range; correct it.
    #[error("option {option} {why}")]
    Option {
        /// The option.
        option: &'static str,
        /// What it must be.
        why: &'static str,
    },
    /// There are too few usable windows; record for longer.
    #[error(
        "{usable} usable feature rows of {seen}, {not_finite} not finite; at least {MIN_ROWS} are needed"
    )]
    TooFewRows {
        /// Rows that could be used.
        usable: usize,
        /// Rows offered.
        seen: u64,
        /// Rows with a value that is not a number.
        not_finite: u64,
    },
    /// No feature varies over the rows: the recording shows one window again and again.
    #[error("no feature varies over {rows} rows")]
    NothingVaries {
        /// Rows that were used.
        rows: usize,
    },
    /// The solver found no components, or wrong ones; the rows are too alike, or too far apart in size.
    #[error("find principal components of {rows} rows: {reason}")]
    Decompose {
        /// Rows that were used.
        rows: usize,
        /// What it said.
        reason: String,
    },
}
