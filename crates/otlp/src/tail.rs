//! One check for all texts of a span.

use crate::wire::{self, Fault};

/// The end of a span, from its first attribute, as text if it is text as a whole: one check for all values
/// in it instead of one for each. It is if no field is longer than 127 bytes, because the keys of a span's
/// fields are ASCII; but not those of the last field of all, the flags, which are left out.
#[derive(Default)]
pub(crate) struct Tail<'a> {
    /// Whether it was tried for this span.
    is_tried: bool,
    text: &'a str,
}

impl<'a> Tail<'a> {
    /// Of a record whose end is not text.
    pub(crate) const NONE: Tail<'static> = Tail { is_tried: true, text: "" };

    /// Tries the rest of a span, once for each.
    #[inline]
    pub(crate) fn reach(&mut self, rest: &'a [u8]) {
        if self.is_tried {
            return;
        }
        self.is_tried = true;
        let rest = match rest {
            [rest @ .., 0x85, 0x01, _, _, _, _] => rest,
            rest => rest,
        };
        self.text = simdutf8::basic::from_utf8(rest).unwrap_or("");
    }

    /// A field's text.
    #[inline]
    pub(crate) fn text(&self, field: &'a [u8]) -> Result<&'a str, Fault> {
        let from = field.as_ptr().addr().wrapping_sub(self.text.as_ptr().addr());
        match from.checked_add(field.len()).and_then(|to| self.text.get(from..to)) {
            Some(text) => Ok(text),
            None => wire::text(field),
        }
    }
}
