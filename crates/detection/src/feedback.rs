//! What people said of findings: marks that findings were false make the detector of that pair more careful.

use std::sync::Arc;

use lapwing_telemetry::{EventTime, FindingKind, Pair};
use serde::{Deserialize, Serialize};

use crate::claim::Claim;

/// How much farther from what is expected than the one marked false the next deviation must be, as a factor.
pub const MARGIN: f64 = 1.5;

/// A finding that was marked false, as far as judging needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Its kind.
    pub kind: FindingKind,
    /// Its cluster.
    pub cluster: String,
    /// The calling service.
    pub source: String,
    /// The called service.
    pub destination: String,
    /// How far it went: see [`deviation`].
    pub deviation: f64,
    /// Windows that end at this moment or later are judged by it.
    pub from: EventTime,
    /// And those that end before this one.
    pub until: EventTime,
}

impl Mark {
    /// Whether it is about this pair.
    pub fn is_of(&self, pair: &Pair) -> bool {
        *self.cluster == *pair.cluster
            && *self.source == *pair.source
            && *self.destination == *pair.destination
    }
}

/// Marks, looked up by kind and pair.
///
/// When a mark counts is a matter of event time, so a replay withholds what the live run did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marks(Arc<[Mark]>);

impl Marks {
    /// Makes marks in any order.
    pub fn new(mut marks: Vec<Mark>) -> Marks {
        marks.sort_by(|a, b| Marks::key(a).cmp(&Marks::key(b)));
        Marks(marks.into())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The deviation that a finding must exceed; `None` if none is marked.
    pub fn least(&self, kind: FindingKind, pair: [&str; 3], at: EventTime) -> Option<f64> {
        let key = (kind, pair[0], pair[1], pair[2]);
        let start = self.0.partition_point(|mark| Marks::key(mark) < key);
        let of_pair = self.0[start..].iter().take_while(|mark| Marks::key(mark) == key);
        let valid = of_pair.filter(|mark| mark.from <= at && at < mark.until);
        valid.map(|mark| mark.deviation * MARGIN).reduce(f64::max)
    }

    /// Whether a claim goes no farther than what was marked false.
    pub(crate) fn withhold(&self, pair: &Pair, claim: &Claim) -> bool {
        if self.is_empty() {
            return false;
        }
        let names = [&*pair.cluster, &*pair.source, &*pair.destination];
        let least = self.least(claim.kind, names, EventTime(claim.end));
        least.is_some_and(|least| deviation(claim.observed, claim.expected) <= least)
    }

    fn key(mark: &Mark) -> (FindingKind, &str, &str, &str) {
        (mark.kind, &mark.cluster, &mark.source, &mark.destination)
    }
}

/// How many times more, or less, than expected was observed; at least 1. One is added to both, so that small numbers
/// are near each other: none and one call, 0.1 % and 0.5 %.
pub fn deviation(observed: f64, expected: f64) -> f64 {
    let (observed, expected) = (observed.max(0.0) + 1.0, expected.max(0.0) + 1.0);
    (observed / expected).max(expected / observed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_counts_for_its_kind_and_pair_in_its_time_and_up_to_its_margin() {
        let mark = |deviation, from, until| Mark {
            kind: FindingKind::VolumeSpike,
            cluster: "c".into(),
            source: "shop/cart".into(),
            destination: "data/orders".into(),
            deviation,
            from: EventTime(from),
            until: EventTime(until),
        };
        let marks = Marks::new(vec![mark(3.0, 100, 200), mark(2.0, 50, 300)]);
        let least = |kind, source, at| marks.least(kind, ["c", source, "data/orders"], EventTime(at));
        assert_eq!(least(FindingKind::VolumeSpike, "shop/cart", 150), Some(4.5));
        assert_eq!(least(FindingKind::VolumeSpike, "shop/cart", 250), Some(3.0));
        assert_eq!(least(FindingKind::VolumeSpike, "shop/cart", 300), None);
        assert_eq!(least(FindingKind::VolumeSpike, "shop/cart", 49), None);
        assert_eq!(least(FindingKind::VolumeDrop, "shop/cart", 150), None);
        assert_eq!(least(FindingKind::VolumeSpike, "shop/other", 150), None);
    }

    #[test]
    fn deviation_is_a_factor_either_way() {
        assert_eq!((deviation(29.0, 9.0), deviation(9.0, 29.0), deviation(0.0, 0.0)), (3.0, 3.0, 1.0));
    }
}
