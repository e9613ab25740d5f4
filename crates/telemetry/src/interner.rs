//! A column's distinct values, numbered in order of first appearance.

use std::hash::BuildHasher;

use arrow::array::{ArrayRef, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use hashbrown::HashTable;

/// Numbers distinct strings from zero. Values are stored once, one after another.
///
/// Most columns repeat the value of the row before, so the last answer is tried before any hashing.
#[derive(Default)]
pub(crate) struct Interner {
    ids: HashTable<u32>,
    bytes: Vec<u8>,
    ends: Vec<i32>,
    last: u32,
    hasher: foldhash::fast::RandomState,
}

impl Interner {
    pub(crate) fn id(&mut self, value: &str) -> u32 {
        if self.is_at(self.last, value) {
            return self.last;
        }
        let hash = self.hasher.hash_one(value.as_bytes());
        let (ends, bytes) = (&self.ends, &self.bytes);
        let found = self.ids.find(hash, |&id| slice(ends, bytes, id) == value.as_bytes());
        self.last = match found {
            Some(&id) => id,
            None => self.add(hash, value),
        };
        self.last
    }

    /// Whether `id` is known and stands for `value`.
    pub(crate) fn is_at(&self, id: u32, value: &str) -> bool {
        (id as usize) < self.ends.len() && slice(&self.ends, &self.bytes, id) == value.as_bytes()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Hands out the distinct values and starts again, keeping the table's memory.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        let mut offsets = Vec::with_capacity(self.ends.len() + 1);
        offsets.push(0);
        offsets.append(&mut self.ends);
        self.ids.clear();
        self.last = 0;
        let capacity = self.bytes.len();
        let bytes = std::mem::replace(&mut self.bytes, Vec::with_capacity(capacity));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        std::sync::Arc::new(StringArray::new(offsets, Buffer::from_vec(bytes), None))
    }

    fn add(&mut self, hash: u64, value: &str) -> u32 {
        let id = self.ends.len() as u32;
        self.bytes.extend_from_slice(value.as_bytes());
        self.ends.push(self.bytes.len() as i32);
        let (ends, bytes, hasher) = (&self.ends, &self.bytes, &self.hasher);
        self.ids.insert_unique(hash, id, |&id| hasher.hash_one(slice(ends, bytes, id)));
        id
    }
}

fn slice<'a>(ends: &[i32], bytes: &'a [u8], id: u32) -> &'a [u8] {
    let id = id as usize;
    let start = if id == 0 { 0 } else { ends[id - 1] as usize };
    &bytes[start..ends[id] as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Array;

    #[test]
    fn equal_values_share_a_number() {
        let mut interner = Interner::default();
        let ids: Vec<u32> = ["a", "", "b", "a", "", "ab", "b"].iter().map(|v| interner.id(v)).collect();
        assert_eq!(ids, [0, 1, 2, 0, 1, 3, 2]);
        let values = interner.finish();
        let values = values.as_any().downcast_ref::<StringArray>().unwrap();
        assert_eq!(values.iter().flatten().collect::<Vec<_>>(), ["a", "", "b", "ab"]);
        assert_eq!(interner.id("z"), 0, "a finished interner starts again");
    }
}
