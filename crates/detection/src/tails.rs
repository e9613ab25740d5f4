//! Tail probabilities of counts, by the regularised incomplete beta function. Logarithms and exponentials are
//! `libm`'s and not the machine's, so that a replay is bit-equal on every machine.

/// P(X >= n) for a negative binomial X with this mean and size; the variance is `mean + mean² / size`.
/// A Gamma-Poisson mixture: counts whose rate is itself uncertain. 1 for `n` of zero.
pub(crate) fn negative_binomial_upper(n: u64, mean: f64, size: f64) -> f64 {
    if n == 0 {
        return 1.0;
    }
    let (mean, size) = (mean.max(1e-12), size.max(1e-6));
    beta(n as f64, size, mean / (mean + size))
}

/// P(X <= n) for the same.
pub(crate) fn negative_binomial_lower(n: u64, mean: f64, size: f64) -> f64 {
    let (mean, size) = (mean.max(1e-12), size.max(1e-6));
    beta(size, n as f64 + 1.0, size / (mean + size))
}

/// P(X >= k) for a binomial X of `n` trials with probability `share`. `n` and `k` need not be whole.
pub(crate) fn binomial_upper(k: f64, n: f64, share: f64) -> f64 {
    if k <= 0.0 {
        return 1.0;
    }
    beta(k, (n - k).max(0.0) + 1.0, share.clamp(1e-9, 1.0 - 1e-9))
}

/// P(T >= t) for Student's t with so many degrees of freedom.
pub(crate) fn student_upper(t: f64, freedom: f64) -> f64 {
    let half = beta(freedom / 2.0, 0.5, freedom / (freedom + t * t)) / 2.0;
    if t >= 0.0 { half } else { 1.0 - half }
}

/// The regularised incomplete beta function I_x(a, b), by its continued fraction (Numerical Recipes,
/// 3rd edition, section 6.4), evaluated with the method of Lentz.
fn beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front =
        libm::exp(ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * libm::log(x) + b * libm::log1p(-x));
    let value = if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(a, b, x) / a
    } else {
        1.0 - front * fraction(b, a, 1.0 - x) / b
    };
    value.clamp(0.0, 1.0)
}

#[expect(clippy::many_single_char_names, reason = "the names of the book")]
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut h = d;
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        h *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        h *= d * c;
        if (d * c - 1.0).abs() < 1e-12 {
            break;
        }
    }
    h
}

/// The logarithm of the gamma function, by Stirling's series after moving the argument above 8.
fn ln_gamma(mut x: f64) -> f64 {
    let mut shift = 1.0;
    while x < 8.0 {
        shift *= x;
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = (1.0 / 12.0 - inverse * (1.0 / 360.0 - inverse * (1.0 / 1_260.0 - inverse / 1_680.0))) / x;
    (x - 0.5) * libm::log(x) - x + 0.918_938_533_204_672_7 + series - libm::log(shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-8 * b.abs().max(1e-12), "{a} is not {b}");
    }

    #[test]
    fn binomial_tails_are_those_of_the_sum() {
        near(binomial_upper(5.0, 5.0, 0.1), 1e-5);
        near(binomial_upper(1.0, 4.0, 0.5), 1.0 - 0.0625);
        near(binomial_upper(7.0, 10.0, 0.1), 9.1216e-6);
    }

    #[test]
    fn negative_binomial_tails_are_those_of_the_sum() {
        let (mean, size) = (3.0_f64, 2.0_f64);
        let p = mean / (mean + size);
        // Size 2: P(n) = (n + 1) (1 - p)^2 p^n.
        let upto = |n: i32| (0..=n).map(|k| f64::from(k + 1) * (1.0 - p).powi(2) * p.powi(k)).sum::<f64>();
        near(negative_binomial_lower(4, mean, size), upto(4));
        near(negative_binomial_upper(5, mean, size), 1.0 - upto(4));
        near(negative_binomial_lower(0, 10.0, 10.0), 2.0_f64.powi(-10));
    }

    #[test]
    fn students_tail_is_that_of_the_tables() {
        near(student_upper(2.0, 1.0), 0.5 - 2.0_f64.atan() / std::f64::consts::PI);
        assert!((student_upper(2.571, 5.0) - 0.025).abs() < 1e-4);
        near(student_upper(-1.0, 4.0) + student_upper(1.0, 4.0), 1.0);
    }

    #[test]
    fn a_large_size_is_poisson() {
        let p = negative_binomial_lower(0, 10.0, 1e7);
        assert!((p.ln() + 10.0).abs() < 1e-4, "{p}");
    }

    #[test]
    fn tails_are_finite_for_every_size_of_count() {
        for n in [0, 1, 50, 5_000, 5_000_000] {
            for mean in [0.0, 0.3, 40.0, 4e6] {
                for size in [0.0, 0.5, 30.0, 1e9] {
                    let (up, low) =
                        (negative_binomial_upper(n, mean, size), negative_binomial_lower(n, mean, size));
                    assert!((0.0..=1.0).contains(&up) && (0.0..=1.0).contains(&low), "{n} {mean} {size}");
                }
            }
        }
    }
}
