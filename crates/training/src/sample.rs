//! A bounded, repeatable choice of feature rows out of however many there are.

use std::collections::BinaryHeap;

use ndarray::Array2;

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
}

impl RowSample {
    pub(crate) fn new(max_rows: usize) -> RowSample {
        RowSample { max_rows, kept: BinaryHeap::new(), seen: 0, not_finite: 0 }
    }

    /// Offers a row. `key` names it among all rows. A row with a value that is not finite, or without
    /// one, is left out and counted: one of them would turn every component into nothing.
    pub(crate) fn offer(&mut self, key: &[&[u8]], values: &[f32], n_features: usize) {
        self.seen += 1;
        if values.len() != n_features || !values.iter().all(|value| value.is_finite()) {
            self.not_finite += 1;
            return;
        }
        let hash = hash(key);
        if self.kept.len() == self.max_rows {
            match self.kept.peek() {
                Some(last) if hash < last.hash => drop(self.kept.pop()),
                _ => return,
            }
        }
        self.kept.push(Kept { hash, values: values.into() });
    }

    /// The kept rows as a matrix, in order of their hashes.
    pub(crate) fn into_matrix(self, n_features: usize) -> Array2<f64> {
        let rows = self.kept.into_sorted_vec();
        let mut matrix = Array2::zeros((rows.len(), n_features));
        for (mut to, from) in matrix.rows_mut().into_iter().zip(rows) {
            for (to, from) in to.iter_mut().zip(&*from.values) {
                *to = f64::from(*from);
            }
        }
        matrix
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
    values: Box<[f32]>,
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
    use super::*;

    fn sample(order: impl Iterator<Item = u16>, max_rows: usize) -> Array2<f64> {
        let mut sample = RowSample::new(max_rows);
        for n in order {
            sample.offer(&[b"pair", &n.to_be_bytes()], &[f32::from(n), 1.0], 2);
        }
        sample.into_matrix(2)
    }

    #[test]
    fn the_choice_is_bounded_and_does_not_depend_on_the_order() {
        let forward = sample(0..10_000, 500);
        assert_eq!(forward.dim(), (500, 2));
        assert_eq!(forward, sample((0..10_000).rev(), 500));
        assert_eq!(sample(0..100, 500).nrows(), 100);
    }

    #[test]
    fn the_choice_is_spread_over_all_rows() {
        let chosen = sample(0..10_000, 1_000);
        let mut tenths = [0; 10];
        for n in chosen.column(0) {
            tenths[*n as usize / 1_000] += 1;
        }
        assert!(tenths.iter().all(|count| (70..130).contains(count)), "{tenths:?}");
    }

    #[test]
    fn rows_that_are_not_finite_are_left_out_and_counted() {
        let mut sample = RowSample::new(10);
        sample.offer(&[b"a"], &[1.0, f32::NAN], 2);
        sample.offer(&[b"b"], &[f32::INFINITY, 1.0], 2);
        sample.offer(&[b"c"], &[2.0, 1.0], 2);
        sample.offer(&[b"d"], &[2.0], 2);
        assert_eq!((sample.seen, sample.not_finite), (4, 3));
        assert_eq!(sample.into_matrix(2), ndarray::array![[2.0, 1.0]]);
    }
}
