//! What a window counts. Integers only, so that the order of calls and of batches cannot matter.

use lapwing_telemetry::Signal;
use serde::{Deserialize, Serialize};

use crate::baseline::operations::MAX_OPERATIONS;

/// Number of signals.
pub(crate) const SIGNALS: usize = 4;
/// Instances that a window tells apart.
const MAX_INSTANCES: usize = 16;
/// Identities that a window tells apart; further ones are not judged.
const MAX_IDENTITIES: usize = 8;

/// Counts of a window, one set per signal, so that a call seen from both sides is not counted twice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    by_signal: [Option<Box<SignalCounts>>; SIGNALS],
    /// Hashes of the identities that callers showed, with the number of records, ascending.
    pub(crate) identities: Vec<(u64, u32)>,
    /// Hashes of the called service's instances that answered, ascending.
    pub(crate) instances: Vec<u64>,
    /// When the first call counted.
    pub(crate) first_at: Option<i64>,
}

/// Counts of one signal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SignalCounts {
    pub(crate) calls: u64,
    /// Failures by the service or the network, without those counted below.
    pub(crate) errors: u64,
    pub(crate) client_errors: u64,
    pub(crate) auth: u64,
    pub(crate) policy: u64,
    pub(crate) tls: u64,
    pub(crate) plaintext: u64,
    pub(crate) encrypted: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) sized: u64,
    /// Further attempts of calls that failed, as far as records tell of them.
    pub(crate) retries: u64,
    /// Hashes of operations with the number of their calls, ascending; of a base window only.
    pub(crate) operations: Vec<(u32, u32)>,
    pub(crate) latency: Histogram,
    /// Sizes of requests and of responses, in bytes where durations are in microseconds.
    pub(crate) sizes: [Histogram; 2],
}

impl Counts {
    pub(crate) const fn empty() -> Counts {
        Counts {
            by_signal: [None, None, None, None],
            identities: Vec::new(),
            instances: Vec::new(),
            first_at: None,
        }
    }

    pub(crate) fn signal_mut(&mut self, signal: Signal) -> &mut SignalCounts {
        self.by_signal[signal as usize].get_or_insert_default()
    }

    pub(crate) fn of(&self, signal: Signal) -> Option<&SignalCounts> {
        self.by_signal[signal as usize].as_deref()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_signal.iter().all(Option::is_none)
    }

    /// The largest count over the signals: each side may see what the other does not.
    pub(crate) fn most(&self, count: impl Fn(&SignalCounts) -> u64) -> u64 {
        self.by_signal.iter().flatten().map(|c| count(c)).max().unwrap_or(0)
    }

    /// Counts an identity. Which ones are kept depends on their hashes alone, not on their order.
    pub(crate) fn identity(&mut self, hash: u64, n: u32) {
        match self.identities.binary_search_by_key(&hash, |(h, _)| *h) {
            Ok(at) => self.identities[at].1 = self.identities[at].1.saturating_add(n),
            Err(at) => {
                self.identities.insert(at, (hash, n));
                self.identities.truncate(MAX_IDENTITIES);
            }
        }
    }

    /// Notes an instance. Which ones are kept depends on their hashes alone.
    pub(crate) fn instance(&mut self, hash: u64) {
        if let Err(at) = self.instances.binary_search(&hash) {
            self.instances.insert(at, hash);
            self.instances.truncate(MAX_INSTANCES);
        }
    }

    /// Notes when a call counted.
    pub(crate) fn seen_at(&mut self, at: i64) {
        self.first_at = Some(self.first_at.map_or(at, |first| first.min(at)));
    }

    pub(crate) fn add(&mut self, other: &Counts) {
        if let Some(at) = other.first_at {
            self.seen_at(at);
        }
        for (mine, other) in self.by_signal.iter_mut().zip(&other.by_signal) {
            if let Some(other) = other {
                mine.get_or_insert_default().add(other);
            }
        }
        other.identities.iter().for_each(|(hash, n)| self.identity(*hash, *n));
        other.instances.iter().for_each(|hash| self.instance(*hash));
    }
}

impl SignalCounts {
    /// Counts a call of an operation. Which ones are kept depends on their hashes alone.
    pub(crate) fn operation(&mut self, hash: u32) {
        match self.operations.binary_search_by_key(&hash, |(h, _)| *h) {
            Ok(at) => self.operations[at].1 = self.operations[at].1.saturating_add(1),
            Err(at) => {
                self.operations.insert(at, (hash, 1));
                self.operations.truncate(MAX_OPERATIONS);
            }
        }
    }

    pub(crate) fn add(&mut self, other: &SignalCounts) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.client_errors += other.client_errors;
        self.auth += other.auth;
        self.policy += other.policy;
        self.tls += other.tls;
        self.plaintext += other.plaintext;
        self.encrypted += other.encrypted;
        self.bytes_in = self.bytes_in.saturating_add(other.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
        self.sized += other.sized;
        self.retries = self.retries.saturating_add(other.retries);
        self.latency.add(&other.latency);
        self.sizes.iter_mut().zip(&other.sizes).for_each(|(mine, other)| mine.add(other));
    }
}

/// Buckets of a histogram.
pub(crate) const BUCKETS: usize = 88;
/// Buckets per doubling: each is about 19 % wide, well below the smallest shift that is reported.
const PER_OCTAVE: u64 = 4;

/// Durations or sizes in log-linear buckets (four per doubling from 64 µs up to four minutes, or from 64 bytes up to
/// 268 MB), those that are not empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Histogram(Vec<(u8, u32)>);

impl Histogram {
    pub(crate) const EMPTY: Histogram = Histogram(Vec::new());

    pub(crate) fn record(&mut self, duration_us: u64) {
        self.put(bucket(duration_us), 1);
    }

    #[cfg(test)]
    pub(crate) fn put_many(&mut self, value: u64, n: u32) {
        self.put(bucket(value), n);
    }

    fn put(&mut self, bucket: u8, n: u32) {
        match self.0.binary_search_by_key(&bucket, |(b, _)| *b) {
            Ok(at) => self.0[at].1 = self.0[at].1.saturating_add(n),
            Err(at) => self.0.insert(at, (bucket, n)),
        }
    }

    pub(crate) fn add(&mut self, other: &Histogram) {
        other.0.iter().for_each(|(bucket, n)| self.put(*bucket, *n));
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|(_, n)| u64::from(*n)).sum()
    }

    /// Durations in buckets from `bucket` on.
    pub(crate) fn from(&self, bucket: usize) -> u64 {
        self.0.iter().filter(|(b, _)| usize::from(*b) >= bucket).map(|(_, n)| u64::from(*n)).sum()
    }

    /// The sum, taking each bucket at its middle.
    pub(crate) fn sum(&self) -> f64 {
        self.iter().map(|(bucket, n)| middle(bucket) * f64::from(n)).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, u32)> + Clone {
        self.0.iter().map(|(b, n)| (usize::from(*b), *n))
    }

    /// The duration in milliseconds that `share` of the durations do not exceed; `None` if there are none.
    pub(crate) fn quantile_ms(&self, share: f64) -> Option<f64> {
        quantile_ms(self.iter().map(|(b, n)| (b, f64::from(n))), share)
    }
}

/// The quantile of weighted buckets, linear within its bucket; `None` if they weigh nothing.
pub(crate) fn quantile_ms(buckets: impl Iterator<Item = (usize, f64)> + Clone, share: f64) -> Option<f64> {
    let total: f64 = buckets.clone().map(|(_, n)| n).sum();
    if total <= 0.0 {
        return None;
    }
    let mut left = share * total;
    let mut last = 0;
    for (bucket, n) in buckets {
        last = bucket;
        if n > 0.0 && left <= n {
            let (low, high) = (lower_us(bucket), lower_us(bucket + 1));
            return Some((low + (high - low) * (left / n).clamp(0.0, 1.0)) / 1_000.0);
        }
        left -= n;
    }
    Some(lower_us(last + 1) / 1_000.0)
}

/// The bucket of a duration: the octave above 64 µs, and its quarter.
fn bucket(duration_us: u64) -> u8 {
    if duration_us < 64 {
        return 0;
    }
    let octave = u64::from(duration_us.ilog2());
    let quarter = (duration_us >> (octave - 2)) & (PER_OCTAVE - 1);
    (1 + (octave - 6) * PER_OCTAVE + quarter).min(BUCKETS as u64 - 1) as u8
}

/// The middle of a bucket.
pub(crate) fn middle(bucket: usize) -> f64 {
    f64::midpoint(lower_us(bucket), lower_us(bucket + 1))
}

/// Where a bucket begins, in microseconds.
fn lower_us(bucket: usize) -> f64 {
    match bucket.checked_sub(1) {
        None => 0.0,
        Some(b) => 64.0 * 2f64.powi((b / 4) as i32) * (1.0 + (b % 4) as f64 / 4.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_lies_in_its_bucket() {
        for us in [0, 63, 64, 65, 100, 999, 1_000, 12_345, 999_999, 100_000_000] {
            let b = usize::from(bucket(us));
            assert!(lower_us(b) <= us as f64 && (us as f64) < lower_us(b + 1), "{us} in {b}");
        }
        assert_eq!(usize::from(bucket(u64::MAX)), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_within_a_bucket_of_the_truth() {
        let mut h = Histogram::default();
        (1..=1_000).for_each(|ms| h.record(ms * 1_000));
        for share in [0.1, 0.5, 0.9] {
            let q = h.quantile_ms(share).unwrap();
            assert!((q / (share * 1_000.0) - 1.0).abs() < 0.05, "{share}: {q}");
        }
        assert_eq!(Histogram::default().quantile_ms(0.5), None);
    }

    #[test]
    fn adding_windows_is_counting_their_calls_together() {
        let mut parts = [Counts::default(), Counts::default()];
        let mut whole = Counts::default();
        for n in 0..50_u64 {
            for counts in [&mut parts[(n % 2) as usize], &mut whole] {
                let c = counts.signal_mut(Signal::ALL[(n % 3) as usize]);
                c.calls += 1;
                c.latency.record(n * n * 100);
                counts.identity(crate::hash::mix(n % 20), 1);
            }
        }
        let (a, b) = (parts[0].clone(), parts[1].clone());
        let mut ab = a.clone();
        ab.add(&b);
        let mut ba = b;
        ba.add(&a);
        assert_eq!(ab, ba);
        assert_eq!(ab.by_signal, whole.by_signal);
    }
}
