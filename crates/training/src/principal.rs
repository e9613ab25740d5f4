//! Principal components of a matrix of features: the one place that uses linfa.
//!
//! linfa's eigenvectors of the covariance, not linfa-reduction's `Pca`: that one asks the iterative LOBPCG
//! solver, which on features that are constant or follow one another, as those of quiet pairs do, gave 1.43
//! for a variance of 2.01 without a word, or panicked. The eigenvectors of linfa-linalg 0.2.1 are off by
//! up to 1e-3 for some such covariances too, so Jacobi rotations finish them, and the result is checked.

use linfa_linalg::LinalgError;
use linfa_linalg::eigh::Eigh;
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
    /// Standard deviation of each feature, or the least scale for one that hardly varies.
    pub(crate) scale: Array1<f64>,
    pub(crate) components: Array2<f64>,
    /// Variance along each kept component, in squared scales.
    pub(crate) variances: Vec<f64>,
    /// The sum of the variances of all scaled features.
    pub(crate) total_variance: f64,
    /// How many features vary at all.
    pub(crate) n_varying: usize,
}

impl Principal {
    /// The share of the total variance along each kept component.
    pub(crate) fn explained(&self) -> Vec<f64> {
        self.variances.iter().map(|variance| variance / self.total_variance).collect()
    }
}

/// Finds the components of `rows` (finite, at least two rows) that explain `share` of the variance, at scales
/// of `least_scale` or more.
///
/// Jolliffe, Principal Component Analysis, 2nd ed., 6.1.1: the smallest number of components whose
/// cumulative share of the variance reaches the wanted one. Returns as many components as there are
/// varying features at most; none if no feature varies.
pub(crate) fn principal(
    rows: &Array2<f64>,
    share: f64,
    least_scale: f64,
) -> Result<Principal, DecomposeError> {
    let n_rows = rows.nrows();
    let mean = rows.mean_axis(Axis(0)).ok_or(DecomposeError::NoRows)?;
    let deviation = rows.std_axis(Axis(0), 1.0);
    let scale = deviation.mapv(|deviation| deviation.max(least_scale));
    let scaled = (rows - &mean) / &scale;
    let spread = scaled.var_axis(Axis(0), 1.0);
    // What rounding leaves of a constant is far below this, any spread that matters far above.
    let n_varying = spread.iter().filter(|variance| **variance > 1e-12).count();
    let total_variance = spread.sum();
    if n_varying == 0 {
        let components = Array2::zeros((0, rows.ncols()));
        return Ok(Principal { mean, scale, components, variances: Vec::new(), total_variance, n_varying });
    }

    let covariance = scaled.t().dot(&scaled) / (n_rows - 1) as f64;
    let (_, vectors) = covariance.eigh()?;
    let (variances, all) = finish(&covariance, vectors);
    check(&covariance, &all, &variances)?;
    let mut sum = 0.0;
    let enough = variances.iter().position(|variance| {
        sum += variance;
        sum >= share * total_variance
    });
    // Rounding leaves constant features a variance about zero, perhaps below it.
    let kept = enough.map_or(n_varying, |idx| idx + 1).min(n_varying);
    let mut components = all.select(Axis(0), &(0..kept).collect::<Vec<_>>());
    for mut component in components.rows_mut() {
        orient(&mut component);
    }
    Ok(Principal {
        mean,
        scale,
        components,
        variances: variances.iter().take(kept).copied().collect(),
        total_variance,
        n_varying,
    })
}

/// Rotates nearly right eigenvectors (the columns of `vectors`, orthonormal) until they are as right as f64 can
/// say, and returns variances and components by falling variance.
///
/// The cyclic Jacobi method: Golub and Van Loan, Matrix Computations, 4th ed., 8.5. It converges from any
/// start, quadratically near the end; from a good start it has next to nothing to do.
fn finish(covariance: &Array2<f64>, mut vectors: Array2<f64>) -> (Array1<f64>, Array2<f64>) {
    const MOST_SWEEPS: usize = 50; // ten are plenty from any start
    let n = covariance.nrows();
    let mut rotated = vectors.t().dot(covariance).dot(&vectors);
    let small = f64::EPSILON * rotated.diag().iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    for _ in 0..MOST_SWEEPS {
        let mut quiet = true;
        for (p, q) in (0..n).flat_map(|p| (p + 1..n).map(move |q| (p, q))) {
            if rotated[[p, q]].abs() <= small {
                continue;
            }
            quiet = false;
            let tau = (rotated[[q, q]] - rotated[[p, p]]) / (2.0 * rotated[[p, q]]);
            let tangent = tau.signum() / (tau.abs() + tau.hypot(1.0));
            let cosine = 1.0 / tangent.hypot(1.0);
            let sine = tangent * cosine;
            let rotate =
                |a: &mut f64, b: &mut f64| (*a, *b) = (cosine * *a - sine * *b, sine * *a + cosine * *b);
            for i in 0..n {
                let (mut a, mut b) = (rotated[[i, p]], rotated[[i, q]]);
                rotate(&mut a, &mut b);
                (rotated[[i, p]], rotated[[i, q]]) = (a, b);
                let (mut a, mut b) = (vectors[[i, p]], vectors[[i, q]]);
                rotate(&mut a, &mut b);
                (vectors[[i, p]], vectors[[i, q]]) = (a, b);
            }
            for i in 0..n {
                let (mut a, mut b) = (rotated[[p, i]], rotated[[q, i]]);
                rotate(&mut a, &mut b);
                (rotated[[p, i]], rotated[[q, i]]) = (a, b);
            }
        }
        if quiet {
            break;
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| rotated[[*b, *b]].total_cmp(&rotated[[*a, *a]]).then(a.cmp(b)));
    let variances = order.iter().map(|idx| rotated[[*idx, *idx]]).collect();
    (variances, vectors.select(Axis(1), &order).reversed_axes())
}

/// What keeps a matrix from being decomposed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecomposeError {
    #[error("there are none")]
    NoRows,
    #[error(transparent)]
    Solver(#[from] LinalgError),
    #[error("the components found are not those of the rows")]
    Wrong,
}

/// Takes nothing on trust: the components must be orthonormal, and the covariance must stretch each by its
/// variance. The tolerance is far above rounding (1e-12 here) and far below what would change which windows are
/// unusual.
fn check(
    covariance: &Array2<f64>,
    components: &Array2<f64>,
    variances: &Array1<f64>,
) -> Result<(), DecomposeError> {
    const TOLERANCE: f64 = 1e-9;
    let near_zero =
        |difference: &Array2<f64>, size: f64| difference.iter().all(|x| x.abs() < TOLERANCE * size);
    let stretched = components.dot(covariance) - components * &variances.view().insert_axis(Axis(1));
    let products = components.dot(&components.t()) - Array2::<f64>::eye(components.nrows());
    let largest = variances.iter().copied().fold(1.0, f64::max);
    if near_zero(&stretched, largest) && near_zero(&products, 1.0) {
        Ok(())
    } else {
        Err(DecomposeError::Wrong)
    }
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

    const LEAST: f64 = 1e-3;

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
        let two = principal(&rows, 0.95, LEAST).unwrap();
        assert_eq!(two.components.nrows(), 2);
        assert!((two.total_variance - 4.0).abs() < 1e-9);
        assert!(two.explained().iter().sum::<f64>() > 0.99, "{:?}", two.explained());
        assert_eq!(principal(&rows, 0.3, LEAST).unwrap().components.nrows(), 1);
        assert_eq!(principal(&rows, 1.0, LEAST).unwrap().components.nrows(), 4);
    }

    #[test]
    fn the_variances_are_those_of_the_rows_along_the_components() {
        let rows = rows(500);
        let found = principal(&rows, 1.0, LEAST).unwrap();
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
    fn a_feature_that_hardly_varies_has_the_least_scale_and_a_constant_no_part_in_any_component() {
        let found = principal(&rows(300), 1.0, 0.1).unwrap();
        assert_eq!((found.mean[4], found.scale[4]), (42.0, 0.1));
        assert_eq!(found.scale[2], 0.1, "one that varies by 0.01");
        assert!(found.total_variance < 3.1 && found.n_varying == 4, "{}", found.total_variance);
        assert!(found.components.column(4).iter().all(|x| x.abs() < 1e-9));
        let constant = principal(&Array2::from_elem((10, 3), 0.1), 0.95, LEAST).unwrap();
        assert_eq!((constant.components.nrows(), constant.n_varying), (0, 0));
    }

    #[test]
    fn wrong_components_are_refused() {
        let covariance = ndarray::array![[1.5, 0.0], [0.0, 0.5]];
        let right = Array2::eye(2);
        assert!(check(&covariance, &right, &ndarray::array![1.5, 0.5]).is_ok());
        assert!(check(&covariance, &right, &ndarray::array![1.4, 0.5]).is_err());
        assert!(check(&covariance, &right, &ndarray::array![f64::NAN, 0.5]).is_err());
        assert!(
            check(&covariance, &ndarray::array![[1.0, 0.1], [0.0, 1.0]], &ndarray::array![1.5, 0.5]).is_err()
        );
    }

    #[test]
    fn components_are_right_from_a_wrong_start() {
        let rows = rows(400);
        let scaled = &rows - &rows.mean_axis(Axis(0)).unwrap();
        let covariance = scaled.t().dot(&scaled) / 399.0;
        let (variances, components) = finish(&covariance, Array2::eye(5));
        check(&covariance, &components, &variances).unwrap();
        assert!(variances.windows(2).into_iter().all(|pair| pair[0] >= pair[1]), "{variances}");
    }

    /// Six features in two groups: the covariance for which linfa-linalg 0.2.1 is off by 1.5e-3.
    #[test]
    fn features_that_follow_one_another_are_decomposed_exactly() {
        let mut noise = noise(7);
        let mut rows = Array2::zeros((500, 6));
        for mut row in rows.rows_mut() {
            let (a, b) = (noise(), noise());
            for (value, hidden) in row.iter_mut().zip([a, a, 2.0 * a, -a, b, b]) {
                *value = hidden + 0.05 * noise();
            }
        }
        let found = principal(&rows, 1.0, 0.1).unwrap();
        let sum: f64 = found.variances.iter().sum();
        assert!(
            found.variances.len() == 6 && (sum - found.total_variance).abs() < 1e-9,
            "{:?}",
            found.variances
        );
    }

    #[test]
    fn the_same_rows_give_the_same_numbers_bit_by_bit() {
        assert_eq!(principal(&rows(700), 0.9, LEAST).unwrap(), principal(&rows(700), 0.9, LEAST).unwrap());
    }
}
