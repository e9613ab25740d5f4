//! The parts of a batch under construction: one growing column each.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, FixedSizeBinaryArray, UInt32Array};
use arrow::buffer::{Buffer, MutableBuffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::UInt32Type;

use crate::interner::{Interner, replace};

pub(super) const NULL: u32 = u32::MAX;

#[derive(Default)]
pub(super) struct Word {
    pub(super) keys: Vec<u32>,
    values: Interner,
    has_nulls: bool,
}

impl Word {
    pub(super) fn push(&mut self, value: Option<&str>) {
        let key = value.map_or(NULL, |v| self.values.id(v));
        self.has_nulls |= key == NULL;
        self.keys.push(key);
    }

    /// Pushes what was pushed last.
    pub(super) fn push_again(&mut self) {
        self.keys.push(self.keys.last().copied().unwrap_or(NULL));
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        let mut keys = replace(&mut self.keys);
        let nulls = std::mem::take(&mut self.has_nulls).then(|| {
            let nulls = keys.iter().map(|k| *k != NULL).collect::<NullBuffer>();
            keys.iter_mut().filter(|k| **k == NULL).for_each(|k| *k = 0);
            nulls
        });
        dictionary(keys, nulls.filter(|nulls| nulls.null_count() > 0), self.values.finish())
    }
}

pub(super) fn dictionary(keys: Vec<u32>, nulls: Option<NullBuffer>, values: ArrayRef) -> ArrayRef {
    let keys = UInt32Array::new(ScalarBuffer::from(keys), nulls);
    Arc::new(DictionaryArray::<UInt32Type>::new(keys, values))
}

pub(super) struct Nullable<T> {
    values: Vec<T>,
    valid: Vec<bool>,
}

impl<T> Default for Nullable<T> {
    fn default() -> Nullable<T> {
        Nullable { values: Vec::new(), valid: Vec::new() }
    }
}

impl<T: Default + Copy + arrow::datatypes::ArrowNativeType> Nullable<T> {
    pub(super) fn push(&mut self, value: Option<T>) {
        self.values.push(value.unwrap_or_default());
        self.valid.push(value.is_some());
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.valid.truncate(rows);
    }

    pub(super) fn finish(
        &mut self,
        array: impl Fn(ScalarBuffer<T>, Option<NullBuffer>) -> ArrayRef,
    ) -> ArrayRef {
        let nulls = NullBuffer::from(replace(&mut self.valid));
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        array(ScalarBuffer::from(replace(&mut self.values)), nulls)
    }
}

#[derive(Default)]
pub(super) struct Ids {
    bytes: Vec<u8>,
    valid: Vec<bool>,
}

impl Ids {
    pub(super) fn push(&mut self, id: Option<&[u8]>, size: usize) {
        match id {
            Some(id) => self.bytes.extend_from_slice(id),
            None => self.bytes.resize(self.bytes.len() + size, 0),
        }
        self.valid.push(id.is_some());
    }

    pub(super) fn truncate(&mut self, rows: usize, size: usize) {
        self.bytes.truncate(rows * size);
        self.valid.truncate(rows);
    }

    pub(super) fn finish(&mut self, size: i32) -> ArrayRef {
        let nulls = NullBuffer::from(replace(&mut self.valid));
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        let bytes: Buffer = MutableBuffer::from(replace(&mut self.bytes)).into();
        Arc::new(FixedSizeBinaryArray::new(size, bytes, nulls))
    }
}
