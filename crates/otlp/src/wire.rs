//! Reads protobuf's wire format from borrowed bytes.
//!
//! Accepts and refuses exactly what prost does (checked by a property test), so that it does not matter
//! to a sender which of the two reads its request.
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

/// Why the bytes are not the message they should be, and where. Boxed, so that a result of reading fits into
/// registers: millions of fields are read for each fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault(Box<(&'static str, usize)>);

impl Fault {
    /// A fault found where `rest` begins.
    #[cold]
    pub(crate) fn new(what: &'static str, rest: &[u8]) -> Fault {
        // The address; only its distance from the request's first byte is ever used.
        Fault(Box::new((what, rest.as_ptr().addr())))
    }

    /// What is wrong.
    pub(crate) fn what(&self) -> &'static str {
        self.0.0
    }

    /// The fault's distance from the start of `body`, of which the faulty slice was a part.
    pub(crate) fn offset_in(&self, body: &[u8]) -> usize {
        self.0.1.saturating_sub(body.as_ptr().addr()).min(body.len())
    }
}

/// How many messages and groups may still be opened inside the current one. prost allows 100 in all.
#[derive(Clone, Copy)]
pub(crate) struct Room(u32);

impl Room {
    /// The room of a whole request.
    pub(crate) const REQUEST: Room = Room(100);

    /// The room inside a message or group of the current message; `rest` says where it begins.
    pub(crate) fn enter(self, rest: &[u8]) -> Result<Room, Fault> {
        if self.0 == 0 {
            Err(Fault::new("messages nested deeper than 100", rest))
        } else {
            Ok(Room(self.0 - 1))
        }
    }
}

/// A cursor over one message's fields.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// What is left to read.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Goes on with `rest`, the end of what was left.
    #[inline]
    pub(crate) fn go_on(&mut self, rest: &'a [u8]) {
        self.rest = rest;
    }

    /// The next field's key, which is its number times eight plus its wire type; `None` at the end.
    /// Keys this reader can return lie in 8..=u32::MAX and their wire type may still be unknown.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<Option<u32>, Fault> {
        let before = self.rest;
        let Some((&first, rest)) = before.split_first() else { return Ok(None) };
        if (8..0x80).contains(&first) {
            self.rest = rest;
            return Ok(Some(u32::from(first)));
        }
        let key = self.varint()?;
        match u32::try_from(key) {
            Ok(key) if key >= 8 => Ok(Some(key)),
            Ok(_) => Err(Fault::new("a field without a number", before)),
            Err(_) => Err(Fault::new("a field number out of range", before)),
        }
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Fault> {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            // The length of most spans.
            Some((&low, &[high @ ..0x80, ref rest @ ..])) => {
                self.rest = rest;
                Ok(u64::from(low & 0x7f) | u64::from(high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for (i, &byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                if i == 9 && byte > 1 {
                    break; // more than 64 bits
                }
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(Fault::new("a varint that is cut short or too long", self.rest))
    }

    /// The bytes of a length-delimited field.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.varint()?;
        // Compared as 64 bits: a declared length of gigabytes reserves nothing.
        match usize::try_from(length).ok().and_then(|n| self.rest.split_at_checked(n)) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(Fault::new("a length beyond the end of its message", self.rest)),
        }
    }

    #[inline]
    pub(crate) fn text(&mut self) -> Result<&'a str, Fault> {
        self.bytes().and_then(text)
    }

    #[inline]
    pub(crate) fn fixed64(&mut self) -> Result<u64, Fault> {
        let Some((bytes, rest)) = self.rest.split_first_chunk::<8>() else {
            return Err(Fault::new("a fixed 64-bit field cut short", self.rest));
        };
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    #[inline]
    pub(crate) fn fixed32(&mut self) -> Result<u32, Fault> {
        let Some((bytes, rest)) = self.rest.split_first_chunk::<4>() else {
            return Err(Fault::new("a fixed 32-bit field cut short", self.rest));
        };
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    /// Passes over a field whose key the caller does not handle. `known` has a bit set for each field
    /// number that the message defines: such a field here has a wrong wire type, which is a fault.
    #[cold]
    #[inline(never)]
    pub(crate) fn other(&mut self, key: u32, known: u32, room: Room) -> Result<(), Fault> {
        if key >> 3 < 32 && known >> (key >> 3) & 1 == 1 {
            return Err(Fault::new("a field with a wrong wire type", self.rest));
        }
        self.skip(key, room)
    }

    fn skip(&mut self, key: u32, room: Room) -> Result<(), Fault> {
        let inner = room.enter(self.rest)?;
        match key & 7 {
            VARINT => self.varint().map(drop),
            FIXED64 => self.fixed64().map(drop),
            BYTES => self.bytes().map(drop),
            FIXED32 => self.fixed32().map(drop),
            GROUP_START => loop {
                match self.key()? {
                    None => return Err(Fault::new("a group without an end", self.rest)),
                    Some(end) if end & 7 == GROUP_END => {
                        if end >> 3 == key >> 3 {
                            return Ok(());
                        }
                        return Err(Fault::new("a group that ends as another one", self.rest));
                    }
                    Some(field) => self.skip(field, inner)?,
                }
            },
            GROUP_END => Err(Fault::new("the end of a group that was not begun", self.rest)),
            _ => Err(Fault::new("an unknown wire type", self.rest)),
        }
    }
}

/// The name and text of the field that `bytes` begin with, whose key is one byte, and how long that field is, if
/// it is a string attribute in the form that every encoder writes: name, then value, nothing else. `None` if it
/// has another form, which may still be right.
#[inline]
pub(crate) fn string_attribute(bytes: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let &[_, length, 0x0a, name_length, ..] = bytes else { return None };
    if length > 0x7f {
        return long_string_attribute(bytes);
    }
    // All lengths are one byte, so that it is told by four bytes at places that follow from one another.
    let len = usize::from(length) + 2;
    let (name, value) = bytes.get(4..len)?.split_at_checked(usize::from(name_length))?;
    let &[0x12, value_length, 0x0a, text_length, ref text @ ..] = value else { return None };
    let fits = usize::from(text_length) == text.len() && usize::from(value_length) == text.len() + 2;
    fits.then_some((name, text, len))
}

fn long_string_attribute(bytes: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let (pair, rest) = delimited(bytes, bytes[0])?;
    let (name, value) = delimited(pair, 0x0a)?;
    let (value, end) = delimited(value, 0x12)?;
    let (text, end_of_value) = delimited(value, 0x0a)?;
    (end.is_empty() && end_of_value.is_empty()).then_some((name, text, bytes.len() - rest.len()))
}

/// The content of the length-delimited field that `bytes` begin with, and what follows it; `None` if they do
/// not begin with this one-byte key and a length of one or two bytes.
fn delimited(bytes: &[u8], key: u8) -> Option<(&[u8], &[u8])> {
    let (&[first, low], rest) = bytes.split_first_chunk()?;
    if first != key {
        return None;
    }
    if low < 0x80 {
        return rest.split_at_checked(usize::from(low));
    }
    let (&high, rest) = rest.split_first()?;
    let length = usize::from(low & 0x7f) | usize::from(high) << 7;
    if high < 0x80 { rest.split_at_checked(length) } else { None }
}

/// The bytes of a string field as text.
#[inline]
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Fault> {
    simdutf8::basic::from_utf8(bytes).map_err(|_detail| Fault::new("a string that is not UTF-8", bytes))
}

pub(crate) const VARINT: u32 = 0;
pub(crate) const FIXED64: u32 = 1;
pub(crate) const BYTES: u32 = 2;
const GROUP_START: u32 = 3;
const GROUP_END: u32 = 4;
pub(crate) const FIXED32: u32 = 5;

/// A field's key from its number and wire type.
pub(crate) const fn key(number: u32, wire_type: u32) -> u32 {
    number << 3 | wire_type
}

/// The set of `numbers`, for [`Reader::other`].
pub(crate) const fn known(numbers: &[u32]) -> u32 {
    let (mut set, mut i) = (0, 0);
    while i < numbers.len() {
        set |= 1 << numbers[i];
        i += 1;
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by files of a real Collector: an attribute of no or one byte, with others after it.
    #[test]
    fn an_attribute_shorter_than_its_parts_is_left_to_the_long_way() {
        for bytes in
            [&[0x4a, 0, 0x0a, 5, 1, 2, 3][..], &[0x4a, 1, 0x0a, 0x0a, 0][..], &[0x4a, 2, 0x0a, 0][..]]
        {
            assert!(string_attribute(bytes).is_none());
        }
    }
    use proptest::prelude::*;

    #[test]
    fn a_gigabyte_length_is_a_fault_at_its_place() {
        let body = [0x0a, 0x80, 0x80, 0x80, 0x80, 0x04, 1, 2];
        let mut reader = Reader::new(&body);
        assert_eq!(reader.key().unwrap(), Some(key(1, BYTES)));
        let fault = reader.bytes().unwrap_err();
        assert_eq!((fault.what(), fault.offset_in(&body)), ("a length beyond the end of its message", 6));
    }

    #[test]
    fn groups_nest_as_deep_as_prost_lets_them_and_no_deeper() {
        let nested = |n: usize| [[0xfb, 0x07].repeat(n), [0xfc, 0x07].repeat(n)].concat();
        for n in 95..105 {
            let body = nested(n);
            let mut reader = Reader::new(&body);
            let group = reader.key().unwrap().unwrap();
            let ours = reader.other(group, 0, Room::REQUEST);
            let theirs = <() as prost::Message>::decode(body.as_slice());
            assert_eq!(ours.is_ok(), theirs.is_ok(), "{n} groups");
        }
    }

    proptest! {
        #[test]
        fn fields_are_skipped_exactly_when_prost_skips_them(body in prop::collection::vec(any::<u8>(), 0..24)) {
            let mut reader = Reader::new(&body);
            let ours = loop {
                match reader.key() {
                    Ok(None) => break true,
                    Ok(Some(key)) if reader.other(key, 0, Room::REQUEST).is_ok() => {}
                    _ => break false,
                }
            };
            prop_assert_eq!(ours, <() as prost::Message>::decode(body.as_slice()).is_ok());
        }
    }
}
