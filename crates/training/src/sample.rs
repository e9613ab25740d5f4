//! A bounded, repeatable choice of feature rows out of however many there are.

use std::collections::{BTreeSet, BinaryHeap};

use lapwing_detection::FeatureRow;
use lapwing_detection::features::N;
use lapwing_telemetry::EventTime;

/// Keeps at most `max_rows` rows: those whose keys hash lowest, which is a uniform choice.
///
/// The choice depends on the rows alone, not on their order or how they come in batches, so the same
/// recording always gives the same matrix, whatever the partitions.
#[derive(Clone, Debug)]
pub(crate) struct RowSample {
    max_rows: usize,
    kept: BinaryHeap<Kept>,
    pub(crate) seen: u64,
    pub(crate) not_finite: u64,
    /// The earliest and the latest start of a window; the latest is meaningless before the first row.
    pub(crate) first: EventTime,
    pub(crate) last: EventTime,
    /// Hashes of the pairs seen; the engine bounds how many there are.
    pub(crate) pairs: BTreeSet<u64>,
}

impl RowSample {
    pub(crate) fn new(max_rows: usize) -> RowSample {
        RowSample {
            max_rows,
            kept: BinaryHeap::new(),
            seen: 0,
            not_finite: 0,
            first: EventTime(i64::MAX),
            last: EventTime::MIN,
            pairs: BTreeSet::new(),
        }
    }

    /// Offers a row. One with a value that is not finite is left out and counted: it would turn every component
    /// into nothing.
    pub(crate) fn offer(&mut self, row: &FeatureRow) {
        self.seen += 1;
        self.first = self.first.min(row.window_start);
        self.last = self.last.max(row.window_start);
        let pair = &row.pair;
        let names = [&*pair.cluster, &pair.source, &pair.destination].map(str::as_bytes);
        self.pairs.insert(hash(&names));
        if !row.features.iter().all(|value| value.is_finite()) {
            self.not_finite += 1;
            return;
        }
        let [cluster, source, destination] = names;
        let hash = hash(&[cluster, source, destination, &row.window_start.0.to_be_bytes()]);
        let offered = Kept { hash, values: row.features };
        if self.kept.len() == self.max_rows {
            match self.kept.peek() {
                Some(last) if offered < *last => drop(self.kept.pop()),
                _ => return,
            }
        }
        self.kept.push(offered);
    }

    /// The kept rows, in order of their hashes.
    pub(crate) fn into_rows(self) -> Vec<[f32; N]> {
        self.kept.into_sorted_vec().into_iter().map(|kept| kept.values).collect()
    }
}

/// FNV-1a over the parts, each ended by 0x1f, then the finaliser of MurmurHash3: see
/// [`partition_of`](lapwing_telemetry::partition_of), which has the same needs.
fn hash(key: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in key {
        for byte in part.iter().chain(&[0x1f]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[derive(Clone, Debug)]
struct Kept {
    hash: u64,
    values: [f32; N],
}

impl Kept {
    fn bits(&self) -> impl Iterator<Item = u32> {
        self.values.iter().map(|value| value.to_bits())
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Kept) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Kept {}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Kept) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kept {
    fn cmp(&self, other: &Kept) -> std::cmp::Ordering {
        self.hash.cmp(&other.hash).then_with(|| self.bits().cmp(other.bits()))
    }
}

#[cfg(test)]
mod tests {
    use lapwing_telemetry::Pair;

    use super::*;

    fn row(n: u16, values: [f32; N]) -> FeatureRow {
        let pair = Pair::new("c", "a/x", &format!("b/{}", n % 7));
        FeatureRow { pair, window_start: EventTime(i64::from(n / 7) * 600_000_000), features: values }
    }

    fn sample(order: impl Iterator<Item = u16>, max_rows: usize) -> RowSample {
        let mut sample = RowSample::new(max_rows);
        for n in order {
            sample.offer(&row(n, [f32::from(n); N]));
        }
        sample
    }

    #[test]
    fn the_choice_is_bounded_and_does_not_depend_on_the_order() {
        let forward = sample(0..10_000, 500).into_rows();
        assert_eq!(forward.len(), 500);
        assert_eq!(forward, sample((0..10_000).rev(), 500).into_rows());
        assert_eq!(sample(0..100, 500).into_rows().len(), 100);
    }

    #[test]
    fn the_choice_is_spread_over_all_rows() {
        let mut tenths = [0; 10];
        for row in sample(0..10_000, 1_000).into_rows() {
            tenths[row[0] as usize / 1_000] += 1;
        }
        assert!(tenths.iter().all(|count| (70..130).contains(count)), "{tenths:?}");
    }

    #[test]
    fn pairs_and_the_time_they_span_are_counted_over_all_rows() {
        let sample = sample(70..700, 100);
        assert_eq!((sample.pairs.len(), sample.seen), (7, 630));
        assert_eq!((sample.first, sample.last), (EventTime(6_000_000_000), EventTime(59_400_000_000)));
    }

    #[test]
    fn rows_that_are_not_finite_are_left_out_and_counted() {
        let mut sample = RowSample::new(10);
        for (n, bad) in [(0, f32::NAN), (1, f32::INFINITY)] {
            let mut values = [1.0; N];
            values[N - 1] = bad;
            sample.offer(&row(n, values));
        }
        sample.offer(&row(2, [2.0; N]));
        assert_eq!((sample.seen, sample.not_finite), (3, 2));
        assert_eq!(sample.into_rows(), [[2.0; N]]);
    }
}
