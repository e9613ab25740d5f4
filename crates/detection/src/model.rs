//! A fitted multivariate model as plain numbers: loading, checking, scoring.
//!
//! The file is our own small JSON, written by `training`; no training library's format enters here.

use ndarray::{Array1, Array2, ArrayView1};
use serde::{Deserialize, Serialize};

use crate::features::{FEATURE_VERSION, FEATURES, N};

/// A principal-component model of normal windows: how the features of one window vary together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Name of the model, for example `profile`.
    pub name: String,
    /// Version of the model; a released version never changes.
    pub version: u32,
    /// [`FEATURE_VERSION`] of the features it was fitted on.
    pub feature_version: u32,
    /// Names of the features, in order: [`FEATURES`].
    pub features: Vec<String>,
    /// Mean of each feature over the training rows.
    pub mean: Vec<f64>,
    /// Standard deviation of each feature over the training rows; positive.
    pub scale: Vec<f64>,
    /// Loadings: one row of unit length per component, over the scaled features.
    pub components: Vec<Vec<f64>>,
    /// Variance of the training rows along each component; positive.
    pub variances: Vec<f64>,
    /// Mean squared residual of the training rows, summed over features; positive.
    pub residual_variance: f64,
    /// A window whose score exceeds this is unlike anything the model was trained on.
    pub threshold: f64,
    /// Length of the windows it was fitted on, in seconds.
    pub window_s: u32,
    /// Rows it was fitted on.
    pub trained_rows: u64,
}

/// Why a model file was refused. *Rejected*: choose or train another model; the process must not start
/// with this one.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The text is not a model file.
    #[error("model file is not valid at line {line}, column {column}: write it with `lapwing train`")]
    Syntax {
        /// Line of the first problem, from 1.
        line: usize,
        /// Column of the first problem, from 1.
        column: usize,
    },
    /// Fitted on features of another version.
    #[error(
        "model was fitted on features of version {found}, this program has version {expected}: train it again"
    )]
    FeatureVersion {
        /// The version the file names.
        found: u32,
        /// The version this program computes.
        expected: u32,
    },
    /// A list has the wrong length or other feature names.
    #[error("model field `{field}` does not fit the {expected} features of this program: train it again")]
    Shape {
        /// The field.
        field: &'static str,
        /// Number of features.
        expected: usize,
    },
    /// A number is not finite, or not positive where it must be.
    #[error("model field `{field}` holds a number that is not finite or not positive: train it again")]
    Number {
        /// The field.
        field: &'static str,
    },
}

impl Model {
    /// Reads and checks a model file.
    ///
    /// # Errors
    /// [`ModelError`], always *rejected*: lengths, names, finiteness, positivity and feature version are
    /// checked here, so that scoring cannot fail.
    pub fn parse(json: &str) -> Result<Model, ModelError> {
        let model: Model = serde_json::from_str(json)
            .map_err(|e| ModelError::Syntax { line: e.line(), column: e.column() })?;
        model.check()?;
        Ok(model)
    }

    /// Checks lengths, names, finiteness, positivity and feature version.
    ///
    /// # Errors
    /// The first problem found.
    pub fn check(&self) -> Result<(), ModelError> {
        if self.feature_version != FEATURE_VERSION {
            return Err(ModelError::FeatureVersion {
                found: self.feature_version,
                expected: FEATURE_VERSION,
            });
        }
        let shape = |good: bool, field| good.then_some(()).ok_or(ModelError::Shape { field, expected: N });
        shape(self.features.iter().map(String::as_str).eq(FEATURES), "features")?;
        shape(self.mean.len() == N, "mean")?;
        shape(self.scale.len() == N, "scale")?;
        shape(self.components.len() <= N && self.components.iter().all(|c| c.len() == N), "components")?;
        shape(self.variances.len() == self.components.len(), "variances")?;
        let number = |good: bool, field| good.then_some(()).ok_or(ModelError::Number { field });
        let positive = |v: &f64| v.is_finite() && *v > 0.0;
        number(self.mean.iter().all(|v| v.is_finite()), "mean")?;
        number(self.scale.iter().all(positive), "scale")?;
        number(self.components.iter().flatten().all(|v| v.is_finite()), "components")?;
        number(self.variances.iter().all(positive), "variances")?;
        number(positive(&self.residual_variance), "residual_variance")?;
        number(positive(&self.threshold), "threshold")?;
        number(self.window_s > 0, "window_s")
    }

    /// How unlike the training rows `x` is: 0 for the mean row, about 1 for a typical one.
    ///
    /// The sum of two standard distances of PCA monitoring (Jackson & Mudholkar 1979; Yue & Qin 2001,
    /// combined index), each divided by its expectation on training rows: Hotelling's T² within the
    /// components, `Σ tᵢ²/λᵢ / k`, and the squared prediction error outside them, `Q / E[Q]`; halved so that the
    /// expectation of the whole is 1.
    pub fn score(&self, x: &[f32; N]) -> f64 {
        let (z, scores, residual) = self.project(x);
        let t2: f64 = scores.iter().zip(&self.variances).map(|(t, v)| t * t / v).sum();
        let q = residual.dot(&residual);
        debug_assert_eq!(z.len(), N);
        let k = self.components.len();
        let within = if k == 0 { 0.0 } else { t2 / k as f64 };
        f64::midpoint(within, q / self.residual_variance)
    }

    /// How much each feature adds to the distance from the mean row, scaled; the largest explain a finding.
    pub fn contributions(&self, x: &[f32; N]) -> [f64; N] {
        let (z, _, _) = self.project(x);
        std::array::from_fn(|i| z[i] * z[i])
    }

    fn project(&self, x: &[f32; N]) -> (Array1<f64>, Array1<f64>, Array1<f64>) {
        let x: Array1<f64> = x.iter().map(|v| f64::from(*v)).collect();
        let z = (x - ArrayView1::from(&self.mean)) / ArrayView1::from(&self.scale);
        let flat: Vec<f64> = self.components.iter().flatten().copied().collect();
        let loadings =
            Array2::from_shape_vec((self.components.len(), N), flat).expect("`check` saw rows of N numbers");
        let scores = loadings.dot(&z);
        let residual = &z - &loadings.t().dot(&scores);
        (z, scores, residual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn model() -> Model {
        let mut first = vec![0.0; N];
        first[0] = 1.0;
        Model {
            name: "profile".into(),
            version: 1,
            feature_version: FEATURE_VERSION,
            features: FEATURES.iter().map(|f| (*f).to_owned()).collect(),
            mean: vec![0.0; N],
            scale: vec![1.0; N],
            components: vec![first],
            variances: vec![4.0],
            residual_variance: (N - 1) as f64,
            threshold: 10.0,
            window_s: 600,
            trained_rows: 1_000,
        }
    }

    #[test]
    fn a_model_reads_back_as_it_was_written() {
        let json = serde_json::to_string(&model()).unwrap();
        assert_eq!(Model::parse(&json).unwrap(), model());
    }

    #[test]
    fn a_model_that_does_not_fit_is_refused_with_the_reason() {
        let check = |change: &dyn Fn(&mut Model), want: &str| {
            let mut m = model();
            change(&mut m);
            let error = Model::parse(&serde_json::to_string(&m).unwrap()).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        };
        check(&|m| m.feature_version += 1, "train it again");
        check(&|m| m.mean.truncate(2), "`mean`");
        check(&|m| m.features.swap(0, 1), "`features`");
        check(&|m| m.components[0].push(0.0), "`components`");
        check(&|m| m.variances.clear(), "`variances`");
        check(&|m| m.scale[1] = 0.0, "`scale`");
        check(&|m| m.residual_variance = -1.0, "`residual_variance`");
        assert!(Model::parse("{\"name\": ").unwrap_err().to_string().contains("line 1"));
    }

    #[test]
    fn the_score_is_one_for_a_typical_row_and_grows_with_distance() {
        let m = model();
        let mut x = [1.0; N];
        x[0] = 2.0; // one standard deviation along the component, one in every residual
        assert!((m.score(&x) - 1.0).abs() < 1e-9);
        assert_eq!(m.score(&[0.0; N]), 0.0);
        x[3] = 9.0;
        assert!(m.score(&x) > 3.0);
        let most = m.contributions(&x).iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        assert_eq!(most, 3);
    }
}
