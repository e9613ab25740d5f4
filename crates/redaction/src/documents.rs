//! Numbers with letters in them: IBAN, National Insurance number, postcode, vehicle plate.

use crate::builtin::Rule;
use crate::checks;
use crate::classes::is_run;
use crate::context::{Found, Text};
use crate::numbers::{bounded, claim};

pub(crate) fn iban(text: &Text<'_>, start: usize) -> Option<Found> {
    let bytes = text.bytes;
    let head = bytes.get(start..start + 4)?;
    if !(head[..2].iter().all(u8::is_ascii_alphabetic) && head[2..].iter().all(u8::is_ascii_digit)) {
        return None;
    }
    if !checks::iban_country(&head[..2]) {
        return None;
    }
    let (mut compact, mut ends, mut length, mut i) = ([0u8; 34], [0usize; 34], 0, start);
    while i < bytes.len() && length < compact.len() {
        let byte = bytes[i];
        if byte.is_ascii_alphanumeric() {
            (compact[length], ends[length]) = (byte, i + 1);
            length += 1;
        } else if !(matches!(byte, b' ' | b'-' | b'+')
            && bytes.get(i + 1).is_some_and(u8::is_ascii_alphanumeric))
        {
            break;
        }
        i += 1;
    }
    // The registered length says where a spaced number ends; longer text may follow it.
    let fits = |length: &usize| bounded(bytes, ends[length - 1]) && checks::iban(&compact[..*length]);
    let length = (15..=length).rev().find(fits)?;
    claim(text, Rule::Iban, start, ends[length - 1])
}

pub(crate) fn nino(text: &Text<'_>, start: usize) -> Option<Found> {
    let bytes = text.bytes;
    let (mut compact, mut i) = ([0u8; 9], start);
    let mut filled = 0;
    while filled < 9 {
        let byte = *bytes.get(i)?;
        let want_letter = filled < 2 || filled == 8;
        if want_letter && byte.is_ascii_alphabetic() || !want_letter && byte.is_ascii_digit() {
            compact[filled] = byte;
            filled += 1;
        } else if !(filled > 1 && matches!(byte, b' ' | b'-' | b'+') && bytes[i - 1].is_ascii_alphanumeric())
        {
            return None;
        }
        i += 1;
    }
    let next_is_run = bytes.get(i).is_some_and(|b| is_run(*b));
    let fits = !next_is_run && checks::nino([compact[0], compact[1]], compact[8]);
    fits.then(|| claim(text, Rule::Nino, start, i))?
}

/// With a space and in capitals a postcode is believed as it stands; otherwise a word must say so.
pub(crate) fn postcode(text: &Text<'_>, start: usize) -> Option<Found> {
    let bytes = text.bytes;
    if is_run(text.before(start)) || text.before(start) == b'.' {
        return None;
    }
    let first = word(bytes, start);
    let (second, spaced) = match first {
        5..=7 => (0, false),
        2..=4
            if matches!(bytes.get(start + first), Some(b' ' | b'+' | b'-'))
                && word(bytes, start + first + 1) == 3 =>
        {
            (3, bytes[start + first] != b'-')
        }
        _ => return None,
    };
    let end = start + first + if second > 0 { second + 1 } else { 0 };
    let compact = Compact::of(&bytes[start..end])?;
    if !bounded(bytes, end) || !checks::postcode(compact.bytes()) {
        return None;
    }
    let capitals = compact.bytes().iter().all(|b| !b.is_ascii_lowercase());
    let believed = spaced && capitals
        || text.says(Rule::Postcode, start)
        || capitals && text.near(Rule::StreetAddress.bit(), start);
    believed.then(|| claim(text, Rule::Postcode, start, end))?
}

pub(crate) fn plate(text: &Text<'_>, start: usize) -> Option<Found> {
    let bytes = text.bytes;
    if text.may & Rule::Plate.bit() == 0 || is_run(text.before(start)) {
        return None;
    }
    let first = word(bytes, start);
    let one = start + first;
    let gap = bytes[one..].iter().take(3).take_while(|b| matches!(b, b' ' | b'+' | b'-')).count();
    let two = one + gap + if first <= 4 && (1..=2).contains(&gap) { word(bytes, one + gap) } else { 0 };
    let fits = |end: &usize| {
        bounded(bytes, *end) && Compact::of(&bytes[start..*end]).is_some_and(|c| checks::plate(c.bytes()))
    };
    let end = [two, one].into_iter().find(fits)?;
    text.says(Rule::Plate, start).then(|| claim(text, Rule::Plate, start, end))?
}

/// Whether letters and digits, in capitals, are a plate from before 1963 or of Northern Ireland: one to three letters and
/// one to four digits, in either order.
pub(crate) fn is_dateless_plate(text: &[u8]) -> bool {
    let parts = |first: fn(&u8) -> bool, most: usize, second: fn(&u8) -> bool, rest: usize| {
        let length = text.iter().take_while(|b| first(b)).count();
        (1..=most).contains(&length)
            && (1..=rest).contains(&(text.len() - length))
            && text[length..].iter().all(second)
    };
    let (letter, digit) = (u8::is_ascii_alphabetic as fn(&u8) -> bool, u8::is_ascii_digit as fn(&u8) -> bool);
    text.len() >= 4 && (parts(letter, 3, digit, 4) || parts(digit, 4, letter, 3))
}

/// Length of the letters and digits at `at`; 8 stands for all that are too long.
fn word(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..).map_or(0, |b| b.iter().take(8).take_while(|b| b.is_ascii_alphanumeric()).count())
}

/// The letters and digits of a short text.
struct Compact {
    bytes: [u8; 8],
    len: usize,
}

impl Compact {
    fn of(text: &[u8]) -> Option<Compact> {
        let mut compact = Compact { bytes: [0; 8], len: 0 };
        for byte in text.iter().filter(|b| b.is_ascii_alphanumeric()) {
            *compact.bytes.get_mut(compact.len)? = *byte;
            compact.len += 1;
        }
        Some(compact)
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
