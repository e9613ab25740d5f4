//! How rare a miss is, among the misses of the same series.

/// Bins per doubling, doublings, and the smallest miss that is told apart.
const PER_DOUBLING: f64 = 16.0;
const BINS: usize = 1_024;
const SMALLEST: f64 = 1e-9;
/// What a miss leaves of the older ones: some five thousand count.
const KEEP: f64 = 1.0 - 1.0 / 5_000.0;
/// Misses before anything is said.
const MIN_COUNT: f64 = 20.0;
/// The tail is the largest fiftieth, or the largest forty of few, but no more than a tenth.
const SHARE: (f64, f64, f64) = (0.02, 40.0, 0.1);
/// Prior of the tail's shape: a little heavier than exponential, with the weight of so many exceedances.
const PRIOR: (f64, f64) = (0.15, 20.0);
/// No tail is taken to be lighter than that of a normal distribution, whose mean excess over its own 98th
/// percentile is a seventh of it; a fifth, to be safe.
const MIN_SCALE: f64 = 0.2;
/// A miss of at least this part of the present one counts as "the same was seen before".
const SAME: f64 = 0.9;

/// Sizes of past misses, and the tail fitted to the largest: peaks over threshold with a generalised Pareto
/// distribution (Pickands, Annals of Statistics 3, 1975; for streams: Siffer et al., KDD 2017), its shape by
/// the moment estimator of Dekkers, Einmahl and de Haan (Annals of Statistics 17, 1989), which needs
/// logarithms alone and so a histogram of them alone.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    bins: Vec<f64>,
    total: f64,
    /// Weight of the next miss: it grows, instead of all others shrinking.
    weight: f64,
}

impl Tail {
    pub(crate) fn new() -> Tail {
        Tail { bins: vec![0.0; BINS], total: 0.0, weight: 1.0 }
    }

    /// Misses that it rests on.
    pub(crate) fn count(&self) -> f64 {
        self.total / self.weight
    }

    /// Learns the size of a miss; at least zero.
    pub(crate) fn learn(&mut self, size: f64) {
        self.bins[bin(size)] += self.weight;
        self.total += self.weight;
        self.weight /= KEEP;
        if self.weight > 1e60 {
            self.bins.iter_mut().for_each(|n| *n /= self.weight);
            self.total /= self.weight;
            self.weight = 1.0;
        }
    }

    /// The probability of a miss of at least this size. Never less than the share of past misses about as large:
    /// what was seen before is not impossible (the p-value of conformal prediction; Vovk, Gammerman,
    /// Shafer, Algorithmic Learning in a Random World, 2005). 1 while too little is known.
    pub(crate) fn p(&self, size: f64) -> f64 {
        if self.count() < MIN_COUNT {
            return 1.0;
        }
        let rank = |mass: f64| (mass + 0.5 * self.weight) / (self.total + self.weight);
        let seen = rank(self.above(bin(size * SAME))).min(1.0);
        let share = (SHARE.1 / self.count()).clamp(SHARE.0, SHARE.2);
        let (mut start, mut mass) = (BINS, 0.0);
        while start > 0 && mass < share * self.total {
            start -= 1;
            mass += self.bins[start];
        }
        let threshold = edge(start);
        if size <= threshold {
            return seen;
        }
        let (mut first, mut second) = (0.0, 0.0);
        for (i, n) in self.bins[start..].iter().enumerate().filter(|(_, n)| **n > 0.0) {
            let log = (i as f64 + 0.5) / PER_DOUBLING * std::f64::consts::LN_2;
            first += log * n / mass;
            second += log * log * n / mass;
        }
        // 0.75 is a uniform distribution's: a point has no shape.
        let light = 1.0 - 0.5 / (1.0 - (first * first / second).min(0.75));
        let n = mass / self.weight;
        let shape = (((first + light) * n + PRIOR.0 * PRIOR.1) / (n + PRIOR.1)).clamp(0.02, 1.0);
        let scale = (threshold * first * (1.0 - light.min(0.0))).max(threshold * MIN_SCALE);
        let beyond = libm::pow(1.0 + shape * (size - threshold) / scale, -1.0 / shape);
        (rank(mass) * beyond).max(self.above(bin(size * SAME)) / (self.total + self.weight))
    }

    /// The size that one miss in fifty exceeds.
    pub(crate) fn largest_usual(&self) -> f64 {
        let mut below = 0.0;
        let place = self.bins.iter().position(|n| {
            below += n;
            below >= (1.0 - SHARE.0) * self.total
        });
        edge(place.map_or(BINS, |bin| bin + 1))
    }

    fn above(&self, bin: usize) -> f64 {
        self.bins[bin..].iter().sum()
    }
}

fn bin(size: f64) -> usize {
    let doublings = libm::log2(size.max(SMALLEST) / SMALLEST);
    ((doublings * PER_DOUBLING) as usize).min(BINS - 1)
}

fn edge(bin: usize) -> f64 {
    SMALLEST * libm::exp2(bin as f64 / PER_DOUBLING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sizes: impl Iterator<Item = f64>) -> Tail {
        let mut tail = Tail::new();
        sizes.for_each(|size| tail.learn(size));
        tail
    }

    /// Quantiles of the exponential distribution in a scrambled order.
    fn exponential() -> Tail {
        of((0..4_000).map(|i| -(1.0 - (f64::from(i * 7_919 % 4_000) + 0.5) / 4_000.0_f64).ln()))
    }

    #[test]
    fn probabilities_of_exponential_sizes_are_about_right_and_fall_with_size() {
        let tail = exponential();
        for (size, tolerance) in [(1.0, 0.15), (3.0, 0.2), (5.0, 0.3), (9.0, 1.0)] {
            let off = (tail.p(size).ln() + size) / std::f64::consts::LN_10;
            assert!(off.abs() < tolerance, "{size}: off by 10^{off}");
        }
        let sizes: Vec<f64> = (1..400).map(|i| f64::from(i) * 0.1).collect();
        assert!(sizes.windows(2).all(|w| tail.p(w[1]) <= tail.p(w[0]) + 1e-12));
    }

    #[test]
    fn what_was_seen_before_is_as_probable_as_it_was_frequent() {
        let tail = of((0..2_000).map(|i| if i % 200 == 0 { 1e6 } else { 1.0 }));
        assert!((0.003..0.02).contains(&tail.p(1e6)), "{}", tail.p(1e6));
    }

    #[test]
    fn nothing_is_said_of_little() {
        assert_eq!(of([1.0; 10].into_iter()).p(1e9), 1.0);
    }
}
