//! Numbers with letters in them: IBAN, National Insurance number, postcode, vehicle plate.

use crate::builtin::Rule;
use crate::checks;
use crate::context::{Found, Text};
use crate::numbers::{bounded, claim, is_run};

pub(crate) fn iban(text: &Text<'_>, start: usize) -> Option<Found> {
    let bytes = text.bytes;
    let head = bytes.get(start..start + 4)?;
    if !(head[..2].iter().all(u8::is_ascii_alphabetic) && head[2..].iter().all(u8::is_ascii_digit)) {
        return None;
    }
    let (mut compact, mut i, mut ends) = (Vec::with_capacity(34), start, Vec::new());
    while i < bytes.len() && compact.len() <= 34 {
        let byte = bytes[i];
        if byte.is_ascii_alphanumeric() {
            compact.push(byte);
            ends.push(i + 1);
        } else if !(matches!(byte, b' ' | b'-' | b'+') && bytes.get(i + 1).is_some_and(u8::is_ascii_alphanumeric)) {
            break;
        }
        i += 1;
    }
    // The registered length says where a spaced number ends; longer text may follow it.
    (15..=compact.len().min(34)).rev().find_map(|length| {
        let end = ends[length - 1];
        let fits = checks::iban_country(&compact[..2]) && bounded(bytes, end) && checks::iban(&compact[..length]);
        fits.then(|| claim(text, Rule::Iban, start, end))?
    })
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
        } else if !(filled > 1 && matches!(byte, b' ' | b'-' | b'+') && bytes[i - 1].is_ascii_alphanumeric()) {
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
    let word = |at: usize| bytes[at..].iter().take_while(|b| b.is_ascii_alphanumeric()).count();
    let first = word(start);
    let (compact, end, spaced) = if (5..=7).contains(&first) {
        (bytes[start..start + first].to_vec(), start + first, false)
    } else {
        let second = start + first + 1;
        let gap = matches!(bytes.get(second - 1), Some(b' ' | b'+' | b'-'));
        if !(2..=4).contains(&first) || !gap || second >= bytes.len() || word(second) != 3 {
            return None;
        }
        ([&bytes[start..start + first], &bytes[second..second + 3]].concat(), second + 3, bytes[second - 1] != b'-')
    };
    let open = !is_run(text.before(start)) && text.before(start) != b'.';
    if !open || !bounded(bytes, end) || !checks::postcode(&compact) {
        return None;
    }
    let capitals = compact.iter().all(|b| !b.is_ascii_lowercase());
    let believed = spaced && capitals || text.says(Rule::Postcode, start) || capitals && text.near(Rule::StreetAddress.bit(), start);
    believed.then(|| claim(text, Rule::Postcode, start, end))?
}

pub(crate) fn plate(text: &Text<'_>, start: usize) -> Option<Found> {
    let bytes = text.bytes;
    let word = |at: usize| bytes.get(at..).map_or(0, |b| b.iter().take(8).take_while(|b| b.is_ascii_alphanumeric()).count());
    let first = word(start);
    let gap = bytes[start + first..].iter().take(3).take_while(|b| matches!(b, b' ' | b'+' | b'-')).count();
    let second = if first <= 4 && gap <= 2 { word(start + first + gap) } else { 0 };
    let one = (bytes[start..start + first].to_vec(), start + first);
    let rest = start + first + gap;
    let both = ([&one.0, &bytes[rest..rest + second]].concat(), rest + second);
    let fitting = |(compact, end): &(Vec<u8>, usize)| checks::plate(compact) && bounded(bytes, *end);
    let end = [both, one].into_iter().find(fitting)?.1;
    let fits = !is_run(text.before(start));
    (fits && text.says(Rule::Plate, start)).then(|| claim(text, Rule::Plate, start, end))?
}
