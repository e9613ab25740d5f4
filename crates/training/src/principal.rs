//! Principal components of a matrix of features: the one place that uses linfa.

use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_reduction::{Pca, ReductionError};
use ndarray::{Array1, Array2, Axis};

/// The directions in which scaled features vary.
///
/// Row `i` of `components` is a unit vector over the features; the components are orthogonal and stand in
/// order of the variance along them, which is `variances[i]`. Only as many as explain the wanted share
/// of the total variance are kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Principal {
    /// Mean of each feature.
    pub(crate) mean: Array1<f64>,
    /// Standard deviation of each feature; 1 for one that never varies, which then counts in its own unit.
    pub(crate) scale: Array1<f64>,
    pub(crate) components: Array2<f64>,
    /// Variance along each kept component, in squared standard deviations.
    pub(crate) variances: Vec<f64>,
    /// The sum of the variances of all scaled features: how many of them vary.
    pub(crate) total_variance: f64,
}

impl Principal {
    /// The share of the total variance along each kept component.
    pub(crate) fn explained(&self) -> Vec<f64> {
        self.variances.iter().map(|variance| variance / self.total_variance).collect()
    }
}

/// Finds the components of `rows` (finite, at least two rows) that explain `share` of the variance.
///
/// Jolliffe, Principal Component Analysis, 2nd ed., 6.1.1: the smallest number of components whose
/// cumulative share of the variance reaches the wanted one. Returns as many components as there are
/// varying features at most; none if no feature varies.
pub(crate) fn principal(rows: &Array2<f64>, share: f64) -> Result<Principal, DecomposeError> {
    let n_rows = rows.nrows();
    let mean = rows.mean_axis(Axis(0)).ok_or(ReductionError::NotEnoughSamples)?;
    let deviation = rows.std_axis(Axis(0), 1.0);
    // What rounding leaves of a constant: far above f64's 1e-16, far below any real spread.
    let varies = |(deviation, mean): (&f64, &f64)| *deviation > 1e-9 * mean.abs().max(1.0);
    let varying: Vec<bool> = deviation.iter().zip(&mean).map(varies).collect();
    let scale: Array1<f64> =
        deviation.iter().zip(&varying).map(|(d, varies)| if *varies { *d } else { 1.0 }).collect();
    let scaled = (rows - &mean) / &scale;
    let n_varying = varying.iter().filter(|varies| **varies).count();
    if n_varying == 0 {
        let components = Array2::zeros((0, rows.ncols()));
        return Ok(Principal { mean, scale, components, variances: Vec::new(), total_variance: 0.0 });
    }

    // All components, also when few are wanted: asked for fewer than there are features, the iterative solver
    // under linfa 0.8 may stop at wrong ones without a word (seen: 1.43 for a variance of 2.01). Asked for all,
    // its first step is exact.
    let fitted = Pca::params(rows.ncols()).fit(&DatasetBase::from(scaled))?;
    // From the singular values, since `explained_variance()` of linfa 0.8 divides by the number of components
    // less one where the number of rows less one is meant, and its ratio knows only the kept components.
    let all: Vec<f64> = fitted.singular_values().iter().map(|s| s * s / (n_rows - 1) as f64).collect();
    let total_variance = n_varying as f64;
    check(fitted.components(), &all, total_variance)?;
    let mut sum = 0.0;
    let enough = all.iter().position(|variance| {
        sum += variance;
        sum >= share * total_variance
    });
    let kept = enough.map_or(all.len(), |idx| idx + 1);
    let mut components = fitted.components().select(Axis(0), &(0..kept).collect::<Vec<_>>());
    for mut component in components.rows_mut() {
        orient(&mut component);
    }
    Ok(Principal { mean, scale, components, variances: all[..kept].to_vec(), total_variance })
}

/// What keeps a matrix from being decomposed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecomposeError {
    #[error(transparent)]
    Solver(#[from] ReductionError),
    #[error("the components found are not orthogonal, or do not add up to the variance of the rows")]
    Wrong,
}

/// Takes nothing on trust: the components must be orthonormal and together explain all of the variance. The
/// tolerance is far above rounding (1e-12 here) and far below what would change which rows are unusual.
fn check(components: &Array2<f64>, variances: &[f64], total_variance: f64) -> Result<(), DecomposeError> {
    const TOLERANCE: f64 = 1e-6;
    let products = components.dot(&components.t());
    let orthonormal = products.indexed_iter().all(|((i, j), product)| {
        let expected = if i == j { 1.0 } else { 0.0 };
        (product - expected).abs() < TOLERANCE
    });
    let sum: f64 = variances.iter().sum();
    let complete = (sum - total_variance).abs() < TOLERANCE * total_variance;
    if orthonormal && complete { Ok(()) } else { Err(DecomposeError::Wrong) }
}

/// A component and its opposite are the same direction: the largest entry is made positive, so that the same
/// rows always give the same numbers.
fn orient(component: &mut ndarray::ArrayViewMut1<'_, f64>) {
    let largest =
        component.iter().fold(0.0_f64, |largest, x| if x.abs() > largest.abs() { *x } else { largest });
    if largest < 0.0 {
        component.mapv_inplace(|x| -x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reproducible noise, roughly uniform in -1..1.
    fn noise(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
        }
    }

    /// Five features: two follow a first hidden number, two a second one, one never varies.
    fn rows(n: usize) -> Array2<f64> {
        let mut noise = noise(7);
        let mut rows = Array2::zeros((n, 5));
        for mut row in rows.rows_mut() {
            let (a, b) = (noise(), noise());
            let values = [100.0 * a + noise(), 3.0 * a, 0.01 * b, -b + 0.05 * noise(), 42.0];
            row.assign(&Array1::from_iter(values));
        }
        rows
    }

    #[test]
    fn as_many_components_are_kept_as_explain_the_share() {
        let rows = rows(2_000);
        let two = principal(&rows, 0.95).unwrap();
        assert_eq!(two.components.nrows(), 2);
        assert_eq!(two.total_variance, 4.0);
        assert!(two.explained().iter().sum::<f64>() > 0.99, "{:?}", two.explained());
        assert_eq!(principal(&rows, 0.3).unwrap().components.nrows(), 1);
        assert_eq!(principal(&rows, 1.0).unwrap().components.nrows(), 4);
    }

    #[test]
    fn the_variances_are_those_of_the_rows_along_the_components() {
        let rows = rows(500);
        let found = principal(&rows, 1.0).unwrap();
        let scaled = (&rows - &found.mean) / &found.scale;
        let along = scaled.dot(&found.components.t());
        for (variance, measured) in found.variances.iter().zip(along.var_axis(Axis(0), 1.0)) {
            assert!((variance - measured).abs() < 1e-6, "{variance} {measured}");
        }
        let sum: f64 = found.variances.iter().sum();
        assert!(
            (sum - found.total_variance).abs() < 1e-6,
            "all components together explain everything: {sum}"
        );
        let identity = found.components.dot(&found.components.t());
        for ((i, j), value) in identity.indexed_iter() {
            assert!((value - f64::from(u8::from(i == j))).abs() < 1e-6);
        }
    }

    #[test]
    fn a_feature_that_never_varies_has_scale_one_and_no_part_in_any_component() {
        let found = principal(&rows(300), 1.0).unwrap();
        assert_eq!((found.mean[4], found.scale[4]), (42.0, 1.0));
        assert!(found.components.column(4).iter().all(|x| x.abs() < 1e-9));
        let constant = principal(&Array2::from_elem((10, 3), 0.1), 0.95).unwrap();
        assert_eq!((constant.components.nrows(), constant.total_variance), (0, 0.0));
    }

    #[test]
    fn wrong_components_are_refused() {
        let right = ndarray::array![[1.0, 0.0], [0.0, 1.0]];
        assert!(check(&right, &[1.5, 0.5], 2.0).is_ok());
        assert!(check(&right, &[1.4, 0.5], 2.0).is_err());
        assert!(check(&ndarray::array![[1.0, 0.0], [0.1, 1.0]], &[1.5, 0.5], 2.0).is_err());
        assert!(check(&right, &[f64::NAN, 0.5], 2.0).is_err());
    }

    #[test]
    fn the_same_rows_give_the_same_numbers_bit_by_bit() {
        assert_eq!(principal(&rows(700), 0.9).unwrap(), principal(&rows(700), 0.9).unwrap());
    }
}
