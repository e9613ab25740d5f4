//! Attribute names, remembered from record to record and from request to request.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use lapwing_telemetry::{AttributeName, same};

use crate::attributes::{Role, role_of};
use crate::wire::{Fault, text};

/// Names that a decoder has met, for builders to know again. It never forgets one: builders keep an array
/// by name.
#[derive(Default)]
pub(crate) struct NameTable {
    names: Vec<AttributeName>,
    places: HashMap<String, NameId, RandomState>,
}

/// The place of a name in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameId(u32);

/// Names in the table: far more than all conventions define. Those that come later are looked up by text.
const TABLE_LIMIT: usize = 4_096;

/// The longest name in the table; the longest of the conventions has 60 bytes.
const NAME_LIMIT_BYTES: usize = 128;

impl NameId {
    /// Of a name that is not in the table.
    pub(crate) const NONE: NameId = NameId(u32::MAX);
}

impl NameTable {
    #[inline]
    pub(crate) fn get(&self, id: NameId) -> Option<&AttributeName> {
        self.names.get(id.0 as usize)
    }

    fn id(&mut self, name: &str) -> NameId {
        if let Some(id) = self.places.get(name) {
            return *id;
        }
        if self.names.len() == TABLE_LIMIT || name.len() > NAME_LIMIT_BYTES {
            return NameId::NONE;
        }
        let id = NameId(self.names.len() as u32);
        self.names.push(AttributeName::new(name));
        self.places.insert(name.to_owned(), id);
        id
    }
}

/// The names in one request, and which followed which: proxies send the same ones in the same order, so that
/// most are found by one comparison, with no look at what they are.
pub(crate) struct Names<'a> {
    /// The first stands for the record's beginning.
    known: Vec<Known<'a>>,
    before: u32,
}

#[derive(Clone, Copy)]
struct Known<'a> {
    name: Named<'a>,
    /// Place of the name that followed it the last time.
    next: u32,
}

/// A name, and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    pub(crate) text: &'a str,
    pub(crate) role: Role,
    pub(crate) id: NameId,
}

/// Names that are remembered in one request. An access log has about 40; a client that sends hundreds is
/// read as correctly, only slower.
const LIMIT: usize = 96;

impl Default for Names<'_> {
    fn default() -> Self {
        let name = Named { text: "", role: Role::Other, id: NameId::NONE };
        Names { known: vec![Known { name, next: 0 }], before: 0 }
    }
}

impl<'a> Names<'a> {
    /// Begins a record.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.before = 0;
    }

    /// Where the name that came last is kept.
    #[inline]
    pub(crate) fn place(&self) -> u32 {
        self.before
    }

    /// Goes on behind the name that is kept at `place`.
    #[inline]
    pub(crate) fn go_on(&mut self, place: u32) {
        self.before = place;
    }

    /// The next attribute's name. The answer holds until the next question.
    #[inline]
    pub(crate) fn find(&mut self, name: &'a [u8], table: &mut NameTable) -> Result<&Named<'a>, Fault> {
        let next = self.known[self.before as usize].next;
        if same(self.known[next as usize].name.text.as_bytes(), name) {
            self.before = next;
        } else {
            self.unexpected(name, table)?;
        }
        Ok(&self.known[self.before as usize].name)
    }

    #[inline(never)]
    fn unexpected(&mut self, name: &'a [u8], table: &mut NameTable) -> Result<(), Fault> {
        let seen = self.known.iter().position(|known| same(known.name.text.as_bytes(), name));
        let place = match seen {
            Some(place) => place,
            None => {
                let text = text(name)?;
                let name = Named { text, role: role_of(text), id: table.id(text) };
                // When there are too many, the last place is everyone's.
                self.known.truncate(LIMIT - 1);
                self.known.push(Known { name, next: 0 });
                self.known.len() - 1
            }
        };
        self.known[self.before as usize].next = place as u32;
        self.before = place as u32;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_is_found_as_if_nothing_were_remembered(records in prop::collection::vec(prop::collection::vec(0..130_u32, 0..20), 1..20)) {
            let name = |n: u32| match n {
                0 => String::new(),
                1 => "http.method".to_owned(),
                2 => "upstream_cluster".to_owned(),
                n => format!("name-{n}"),
            };
            let texts: Vec<Vec<String>> = records.iter().map(|r| r.iter().map(|n| name(*n)).collect()).collect();
            let (mut names, mut table) = (Names::default(), NameTable::default());
            for record in &texts {
                names.begin();
                for name in record {
                    let found = names.find(name.as_bytes(), &mut table).unwrap();
                    prop_assert_eq!((found.text, found.role), (name.as_str(), role_of(name)));
                    prop_assert!(name.is_empty() || table.get(found.id).is_some());
                }
            }
        }
    }

    #[test]
    fn a_name_that_is_not_text_is_a_fault() {
        assert!(Names::default().find(&[0xff], &mut NameTable::default()).is_err());
    }
}
