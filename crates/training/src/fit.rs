//! From feature rows to the numbers of a model: choose rows, scale, find components, set the threshold.

use std::time::Duration;

use lapwing_detection::features::N;
use lapwing_detection::{FEATURE_VERSION, FEATURES, FeatureRow, Model};
use lapwing_telemetry::EventTime;
use ndarray::Array2;

use crate::principal::{Principal, principal};
use crate::sample::RowSample;

/// A fitted model, and all that a card says of how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The model; its version is 0 until it is saved.
    pub model: Model,
    /// The share of the total variance along each component.
    pub explained: Vec<f64>,
    /// The start of the first window offered.
    pub from: EventTime,
    /// The end of the last window offered.
    pub to: EventTime,
    /// Pairs that the windows offered tell of.
    pub pairs: usize,
    /// Windows offered.
    pub rows_seen: u64,
    /// Windows left out because a feature was not a finite number.
    pub rows_not_finite: u64,
    /// Scores of the windows it was fitted on: share of windows, and the score they do not exceed.
    pub score_quantiles: Vec<(f64, f64)>,
    /// The share of windows that the threshold was set by.
    pub quantile: f64,
    /// What the score at that share was multiplied by.
    pub margin: f64,
}

/// Fits a model to rows that are all at hand; see [`Fitter`] for more than memory holds.
pub fn fit(rows: &[FeatureRow], options: FitOptions) -> Result<Fitted, TrainError> {
    let mut fitter = Fitter::new(options)?;
    for row in rows {
        fitter.offer(row);
    }
    fitter.fit()
}

/// Collects rows in bounded memory, then fits.
#[derive(Clone, Debug)]
pub struct Fitter {
    options: FitOptions,
    sample: RowSample,
}

impl Fitter {
    /// Makes a fitter that has seen no rows.
    pub fn new(options: FitOptions) -> Result<Fitter, TrainError> {
        options.check()?;
        Ok(Fitter { sample: RowSample::new(options.max_rows), options })
    }

    /// Offers a row. Rows may come in any order.
    pub fn offer(&mut self, row: &FeatureRow) {
        self.sample.offer(row);
    }

    /// Fits a model to the rows.
    pub fn fit(self) -> Result<Fitted, TrainError> {
        let (sample, options) = (self.sample, self.options);
        let (seen, not_finite) = (sample.seen, sample.not_finite);
        let (from, to, pairs) = (sample.first, sample.last.plus(options.window), sample.pairs.len());
        let rows = sample.into_rows();
        let n_rows = rows.len();
        if n_rows < MIN_ROWS {
            return Err(TrainError::TooFewRows { usable: n_rows, seen, not_finite });
        }
        let matrix = Array2::from_shape_fn((n_rows, N), |(row, feature)| f64::from(rows[row][feature]));
        let found = principal(&matrix, options.explained, LEAST_SCALE)
            .map_err(|error| TrainError::Decompose { rows: n_rows, reason: error.to_string() })?;
        if found.n_varying == 0 {
            return Err(TrainError::NothingVaries { rows: n_rows });
        }
        let mut model = model_of(&found, &matrix, &options);
        let mut scores: Vec<f64> = rows.iter().map(|row| model.score(row)).collect();
        scores.sort_by(f64::total_cmp);
        model.threshold = quantile(&scores, options.quantile) * options.margin;
        model.check().map_err(|error| TrainError::Model { reason: error.to_string() })?;
        Ok(Fitted {
            explained: found.explained().into_iter().take(model.components.len()).collect(),
            model,
            from,
            to,
            pairs,
            rows_seen: seen,
            rows_not_finite: not_finite,
            score_quantiles: [0.5, 0.9, 0.99, 0.999, 1.0]
                .map(|share| (share, quantile(&scores, share)))
                .to_vec(),
            quantile: options.quantile,
            margin: options.margin,
        })
    }
}

/// Writes the components down as a model without a threshold.
fn model_of(found: &Principal, matrix: &Array2<f64>, options: &FitOptions) -> Model {
    // One direction at least stays outside: the score compares what the components leave unexplained with
    // what they left of the training rows, which must not be nothing.
    let n_kept = found.components.nrows().min(found.n_varying - 1);
    let components = found.components.select(ndarray::Axis(0), &(0..n_kept).collect::<Vec<_>>());
    let scaled = (matrix - &found.mean) / &found.scale;
    let residual = &scaled - &scaled.dot(&components.t()).dot(&components);
    Model {
        name: options.name.clone(),
        version: 0,
        feature_version: FEATURE_VERSION,
        features: FEATURES.iter().map(|&name| name.to_owned()).collect(),
        mean: found.mean.to_vec(),
        scale: found.scale.to_vec(),
        components: components.rows().into_iter().map(|row| row.to_vec()).collect(),
        variances: found.variances[..n_kept].to_vec(),
        residual_variance: residual.mapv(|x| x * x).sum() / matrix.nrows() as f64,
        threshold: f64::INFINITY,
        window_s: u32::try_from(options.window.as_secs()).unwrap_or(u32::MAX),
        trained_rows: matrix.nrows() as u64,
    }
}

/// The least scale of a feature. Features are shares under a square root and logarithms of ratios: 0.1 is one
/// failure in a hundred where there were none, or a tenth more than usual. A feature that never moved in
/// training then counts when it moves by that, and one that moved by less does not turn every tremor into
/// news.
const LEAST_SCALE: f64 = 0.1;

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
    /// Length of the windows that the rows tell of; whole seconds, at least one.
    pub window: Duration,
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
    /// The usual options for a model of that name: components for 0.95 of the variance, and a threshold at twice
    /// what 0.999 of the training windows score. A score is a squared distance, so that is 1.4 times as far as
    /// all but one in a thousand. 50 000 rows leave 50 beyond that quantile, enough to place it.
    pub fn named(name: &str, window: Duration) -> FitOptions {
        FitOptions {
            name: name.to_owned(),
            window,
            max_rows: 50_000,
            explained: 0.95,
            quantile: 0.999,
            margin: 2.0,
        }
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
        if self.window.as_secs() == 0 {
            return wrong("window", "must be a second or more");
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
    /// The fitted numbers are no model that detection accepts: the rows are too alike.
    #[error("make a model of the fitted numbers: {reason}")]
    Model {
        /// Why not.
        reason: String,
    },
}
