//! A column's distinct values, numbered in order of first appearance.

use std::hash::BuildHasher;

use arrow::array::{ArrayRef, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Numbers distinct strings from zero. Values are stored once, one after another.
///
/// Most columns repeat the value of the row before or the one before it, so the last two answers are tried
/// before any hashing.
pub(crate) struct Interner {
    ids: HashTable<u32>,
    bytes: Vec<u8>,
    /// Where each value begins; the last one is where the next will.
    offsets: Vec<i32>,
    last: u32,
    last_but_one: u32,
    hasher: foldhash::fast::RandomState,
}

impl Default for Interner {
    fn default() -> Interner {
        let (ids, hasher) = (HashTable::default(), foldhash::fast::RandomState::default());
        Interner { ids, bytes: Vec::new(), offsets: vec![0], last: 0, last_but_one: 0, hasher }
    }
}

impl Interner {
    #[inline]
    pub(crate) fn id(&mut self, value: &str) -> u32 {
        if self.is_at(self.last, value) {
            return self.last;
        }
        let last = self.last;
        self.last =
            if self.is_at(self.last_but_one, value) { self.last_but_one } else { self.find_or_add(value) };
        self.last_but_one = last;
        self.last
    }

    /// Whether `id` is known and stands for `value`.
    #[inline]
    pub(crate) fn is_at(&self, id: u32, value: &str) -> bool {
        let known = self.offsets.get(id as usize..).and_then(<[i32]>::first_chunk);
        known.is_some_and(|&[from, to]| {
            let (from, to) = (from as usize, to as usize);
            same(&self.bytes[from..to], value.as_bytes())
        })
    }

    /// How many distinct values there are.
    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Hands out the distinct values and starts again, keeping the table's memory and making room for
    /// as many values as there were.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        self.ids.clear();
        (self.last, self.last_but_one) = (0, 0);
        let bytes = replace(&mut self.bytes);
        let offsets = replace(&mut self.offsets);
        self.offsets.push(0);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        std::sync::Arc::new(StringArray::new(offsets, Buffer::from_vec(bytes), None))
    }

    fn find_or_add(&mut self, value: &str) -> u32 {
        let Interner { ids, bytes, offsets, hasher, .. } = self;
        let hash = hasher.hash_one(value.as_bytes());
        let is_value = |id: &u32| same(slice(offsets, bytes, *id), value.as_bytes());
        let entry = match ids.entry(hash, is_value, |&id| hasher.hash_one(slice(offsets, bytes, id))) {
            Entry::Occupied(known) => return *known.get(),
            Entry::Vacant(entry) => entry,
        };
        let id = (offsets.len() - 1) as u32;
        entry.insert(id);
        bytes.extend_from_slice(value.as_bytes());
        offsets.push(bytes.len() as i32);
        id
    }
}

/// Whether two byte strings are equal. Most names and values are short: up to 32 bytes they are compared in
/// two overlapping halves, without a call.
#[inline]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        8..16 => a.first_chunk::<8>() == b.first_chunk::<8>() && a.last_chunk::<8>() == b.last_chunk::<8>(),
        16..=32 => {
            a.first_chunk::<16>() == b.first_chunk::<16>() && a.last_chunk::<16>() == b.last_chunk::<16>()
        }
        // Longer ones that differ, urls and ids, differ near the end.
        33..=128 => {
            a.last_chunk::<16>() == b.last_chunk::<16>()
                && a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0).all(|(a, b)| a == b)
        }
        _ => a == b,
    }
}

/// Takes a vector's content and leaves an empty one with room for as much again: batches are alike.
pub(crate) fn replace<T>(vector: &mut Vec<T>) -> Vec<T> {
    let room = vector.len();
    std::mem::replace(vector, Vec::with_capacity(room))
}

fn slice<'a>(offsets: &[i32], bytes: &'a [u8], id: u32) -> &'a [u8] {
    let id = id as usize;
    &bytes[offsets[id] as usize..offsets[id + 1] as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Array;

    #[test]
    fn strings_of_any_length_are_the_same_only_if_every_byte_is() {
        for len in 0..140 {
            let one: Vec<u8> = (0..len).collect();
            assert!(same(&one, &one.clone()) && !same(&one, &[&one[..], &[0]].concat()));
            for changed in 0..usize::from(len) {
                let mut other = one.clone();
                other[changed] ^= 1;
                assert!(!same(&one, &other), "{len} {changed}");
            }
        }
    }

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
