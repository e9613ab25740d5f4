//! Canaries: made-up calls that prove redaction at work, kept apart from real traffic by their cluster.

use std::borrow::Cow;

use arrow::array::{Array, ArrayData, AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, UInt32Type};

use crate::Calls;

/// The cluster of canaries. Decode gives it to nobody else, so nothing can hide behind it.
pub const CANARY_CLUSTER: &str = "lapwing-canary";

impl Calls {
    /// Whether any call is a canary. Looks at the distinct clusters only.
    pub fn has_canaries(&self) -> bool {
        let clusters = self.columns().cluster();
        clusters.values.iter().flatten().any(|cluster| cluster == CANARY_CLUSTER)
    }

    /// The calls of real traffic: what is judged, learned and counted.
    pub fn without_canaries(&self) -> Cow<'_, Calls> {
        if self.has_canaries() { Cow::Owned(self.of_kind(false)) } else { Cow::Borrowed(self) }
    }

    /// The canaries alone.
    #[must_use]
    pub fn canaries(&self) -> Calls {
        self.of_kind(true)
    }

    fn of_kind(&self, canary: bool) -> Calls {
        let clusters = self.columns().cluster();
        let of_kind = (0..self.len()).map(|row| (clusters.get(row) == Some(CANARY_CLUSTER)) == canary);
        let chosen = BooleanArray::from(of_kind.collect::<Vec<_>>());
        let batch = filter_record_batch(self.batch(), &chosen).expect("there is one choice for each row");
        Calls::from_log(batch).expect("choosing rows keeps the schema")
    }

    /// Gives the memory of every column and of all it is made of, so that no text can be forgotten.
    pub fn memory(&self, mut take: impl FnMut(&[u8])) {
        for column in self.batch().columns() {
            memory_of(&column.to_data(), &mut take);
        }
    }

    /// Gives every text that a row uses: words and the names and values of attributes.
    pub fn texts(&self, mut take: impl FnMut(&str)) {
        for column in self.batch().columns() {
            match column.data_type() {
                DataType::Dictionary(..) => words(column.as_ref(), 0..column.len(), &mut take),
                DataType::Map(..) => {
                    let map = column.as_map();
                    let offsets = map.value_offsets();
                    let used = offsets[0] as usize..offsets[map.len()] as usize;
                    words(map.keys().as_ref(), used.clone(), &mut take);
                    words(map.values().as_ref(), used, &mut take);
                }
                _ => {}
            }
        }
    }
}

fn words(column: &dyn Array, used: std::ops::Range<usize>, take: &mut impl FnMut(&str)) {
    let dictionary = column.as_dictionary::<UInt32Type>();
    let values = dictionary.values().as_string::<i32>();
    let keys = dictionary.keys();
    used.filter(|row| keys.is_valid(*row)).for_each(|row| take(values.value(keys.value(row) as usize)));
}

fn memory_of(data: &ArrayData, take: &mut impl FnMut(&[u8])) {
    data.buffers().iter().for_each(|buffer| take(buffer.as_slice()));
    data.child_data().iter().for_each(|child| memory_of(child, take));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builders, Call, EventTime, Signal};

    #[test]
    fn canaries_are_told_from_real_calls_by_their_cluster() {
        let mut builders = Builders::new(1);
        for cluster in ["prod", CANARY_CLUSTER, "prod"] {
            let call = Call::new(EventTime(1), EventTime(1), Signal::SpanClient, cluster);
            builders.append(&call, std::iter::once(("note", cluster)));
        }
        let (_, raw) = builders.finish().remove(0);
        let calls = Calls::from_log(raw.into_batch()).unwrap();
        assert!(calls.has_canaries());
        assert_eq!((calls.without_canaries().len(), calls.canaries().len()), (2, 1));
        assert_eq!(calls.without_canaries().without_canaries().len(), 2);
        let mut used = Vec::new();
        calls.canaries().texts(|text| used.push(text.to_owned()));
        assert!(used.contains(&CANARY_CLUSTER.to_owned()) && !used.contains(&"prod".to_owned()), "{used:?}");
        let mut found = false;
        calls.memory(|bytes| found |= bytes.windows(4).any(|four| four == b"prod"));
        assert!(found);
    }
}
