//! Values of SQL inserts: the names stand in one list, the values in another.

use std::cell::Cell;

use crate::context::{Found, Label, Text};
use crate::keys::Shape;
use crate::pairs::{PERSONAL, closing_quote, count, whole};
use crate::{numbers, words};

/// `INSERT INTO t (a, b) VALUES ('x', 'y')`: pairs the columns with the values. `values` is where the word
/// `VALUES` begins.
pub(crate) fn find(text: &Text<'_>, values: usize, found: &mut Vec<Found>) {
    let bytes = text.bytes;
    let back = values.saturating_sub(1_024);
    let before = bytes[back..values].trim_ascii_end();
    let Some(columns) = before.strip_suffix(b")") else { return };
    let Some(open) = memchr::memrchr(b'(', columns).map(|i| back + i) else { return };
    let close = back + columns.len();
    let names = bytes[open + 1..close].split(|b| *b == b',');
    let mut i = values + 6 + count(bytes, values + 6, 3, |b| b == b' ');
    if bytes.get(i) != Some(&b'(') {
        return;
    }
    i += 1;
    for name in names {
        i += count(bytes, i, 4, |b| b == b' ');
        let (start, end) = match bytes.get(i) {
            Some(b'\'') => (i + 1, closing_quote(bytes, i + 1, bytes.len(), b'\'', 0)),
            _ => (i, i + count(bytes, i, bytes.len(), |b| !matches!(b, b',' | b')'))),
        };
        text.spend(end - start);
        if let Some(meaning) = text.meaning(name.trim_ascii()) {
            let inside = &bytes[start..end];
            let person = meaning.shape == Shape::BareName && text.hints_at(PERSONAL);
            if person && words::is_full_name(inside) {
                found.push(Found { start, end, rule: meaning.rule });
            } else if let Some((from, to)) = whole(inside, meaning) {
                found.push(Found { start: start + from, end: start + to, rule: meaning.rule });
            } else if meaning.shape == Shape::Ruled {
                let may = if meaning.is_built_in() { 1 << meaning.rule } else { 0 };
                let last_label = Cell::new(Label::NONE);
                let alone = Text {
                    bytes: inside,
                    hits: &[],
                    field: Some(meaning),
                    field_is_technical: false,
                    field_may: may,
                    may,
                    last_label: &last_label,
                    ..*text
                };
                let first = found.len();
                numbers::find_alone(&alone, found);
                found[first..].iter_mut().for_each(|f| (f.start, f.end) = (f.start + start, f.end + start));
            }
        }
        i = end + count(bytes, end, 1, |b| b == b'\'');
        i += count(bytes, i, 2, |b| matches!(b, b',' | b' '));
        if bytes.get(i).is_none_or(|b| *b == b')') {
            return;
        }
    }
}
