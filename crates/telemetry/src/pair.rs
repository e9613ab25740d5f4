//! Pairs of services, and the partition each belongs to.

use std::sync::Arc;

use crate::Partition;

/// A source and a destination service, `namespace/service` each, in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Pair {
    /// `k8s.cluster.name`, or the configured default.
    pub cluster: Arc<str>,
    /// The calling service, `namespace/service`.
    pub source: Arc<str>,
    /// The called service, `namespace/service`.
    pub destination: Arc<str>,
}

impl Pair {
    /// Makes a pair from its three names.
    pub fn new(cluster: &str, source: &str, destination: &str) -> Pair {
        Pair { cluster: cluster.into(), source: source.into(), destination: destination.into() }
    }
}

/// The partition of a pair's calls: one function, the same in every mode and on every machine.
///
/// FNV-1a (64 bit, Fowler–Noll–Vo; chosen because it is specified, tiny and stable over releases, and
/// names are short) over the three names separated by 0x1f, then the finaliser of MurmurHash3 so that
/// the low bits are as good as the high ones. Calls without a source or destination are spread by
/// what they have. `partitions` must not be zero.
pub fn partition_of(
    cluster: &str,
    source: Option<&str>,
    destination: Option<&str>,
    partitions: u16,
) -> Partition {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in [cluster, source.unwrap_or(""), destination.unwrap_or("")] {
        for byte in part.as_bytes().iter().chain(&[0x1f]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    Partition((hash % u64::from(partitions.max(1))) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pairs_partition_never_changes_between_releases() {
        // Fixed values: a change here would tear a pair's history in two on upgrade.
        assert_eq!(partition_of("prod", Some("shop/cart"), Some("data/orders"), 64), Partition(41));
        assert_eq!(partition_of("prod", Some("data/orders"), Some("shop/cart"), 64), Partition(21));
        assert_eq!(partition_of("", None, None, 64), Partition(37));
    }

    #[test]
    fn pairs_spread_over_partitions() {
        let mut counts = [0u32; 16];
        for i in 0..1_600 {
            let p = partition_of("c", Some(&format!("ns/a{i}")), Some(&format!("ns/b{}", i % 40)), 16);
            counts[usize::from(p.0)] += 1;
        }
        assert!(counts.iter().all(|c| (50..150).contains(c)), "{counts:?}");
    }
}
