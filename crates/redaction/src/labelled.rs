//! Numbers that many things look like, so that a name or word beside them must speak for them.

use crate::builtin::{Rule, RuleSet};
use crate::context::{Found, Text};
use crate::documents::is_dateless_plate;
use crate::national;
use crate::numbers::{bounded, claim};

/// Letters and digits that the longest of them has.
const LETTERS: usize = 24;

/// And the shortest.
const SHORTEST: usize = 6;

/// How a rule knows its numbers.
struct Kind {
    rule: Rule,
    /// Whether letters and digits, in capitals, are such a number: a word near by is enough then.
    is_one: fn(&[u8]) -> bool,
    /// Whether they may be one: believed if their own label says so.
    may_be_one: fn(&[u8]) -> bool,
}

const KINDS: &[Kind] = &[
    Kind { rule: Rule::NationalId, is_one: national::any, may_be_one: looks_like_an_id },
    Kind { rule: Rule::VatNumber, is_one: national::uk_vat, may_be_one: foreign_vat },
    Kind {
        rule: Rule::LearnerNumber,
        is_one: |t| national::pupil(t) || national::learner(t),
        may_be_one: never,
    },
    Kind { rule: Rule::ResidencePermit, is_one: residence_permit, may_be_one: share_code },
    Kind { rule: Rule::MeterPoint, is_one: national::meter_point, may_be_one: gas_meter },
    Kind { rule: Rule::Nino, is_one: temporary_nino, may_be_one: never },
    Kind { rule: Rule::Plate, is_one: never, may_be_one: is_dateless_plate },
];

/// The rules that this module looks for.
pub(crate) const LABELLED: RuleSet = Rule::NationalId.bit()
    | Rule::VatNumber.bit()
    | Rule::LearnerNumber.bit()
    | Rule::ResidencePermit.bit()
    | Rule::MeterPoint.bit()
    | Rule::Nino.bit()
    | Rule::Plate.bit();

/// The number that begins at `start`, if a word speaks for one.
pub(crate) fn find(text: &Text<'_>, start: usize) -> Option<Found> {
    if text.may & LABELLED == 0 {
        return None;
    }
    let spelled = Spelled::read(text.bytes, start);
    if spelled.len < SHORTEST {
        return None;
    }
    KINDS.iter().filter(|kind| text.may & kind.rule.bit() != 0).find_map(|kind| {
        let is_one = spelled.longest(text.bytes, |letters| (kind.is_one)(letters));
        // What a label says costs more than the number's form.
        let either = |letters: &[u8]| (kind.is_one)(letters) || (kind.may_be_one)(letters);
        let labelled = spelled.longest(text.bytes, either).filter(|_| text.is_labelled(kind.rule, start));
        let end = labelled.or_else(|| is_one.filter(|_| text.says(kind.rule, start)))?;
        claim(text, kind.rule, start, end)
    })
}

fn never(_: &[u8]) -> bool {
    false
}

/// A field called so holds one, of whatever country.
fn looks_like_an_id(text: &[u8]) -> bool {
    (6..=20).contains(&text.len()) && text.iter().filter(|b| b.is_ascii_digit()).count() >= 6
}

/// VAT identification numbers of the Union: the country and eight to twelve letters and digits.
fn foreign_vat(text: &[u8]) -> bool {
    let country = text.iter().take(2).all(u8::is_ascii_uppercase);
    (10..=14).contains(&text.len()) && country && text.iter().filter(|b| b.is_ascii_digit()).count() >= 7
}

/// A residence permit has two letters and seven digits, or the older form two letters, `X` or a digit, and six.
fn residence_permit(text: &[u8]) -> bool {
    text.len() == 9
        && text[..2].iter().all(u8::is_ascii_uppercase)
        && (text[2].is_ascii_digit() || text[2] == b'X')
        && text[3..].iter().all(u8::is_ascii_digit)
}

/// A code by which a person shows an employer or landlord what they may do: nine letters and digits.
fn share_code(text: &[u8]) -> bool {
    text.len() == 9 && text.iter().any(u8::is_ascii_digit) && text[0].is_ascii_uppercase()
}

/// Meter point reference numbers of gas have six to ten digits.
fn gas_meter(text: &[u8]) -> bool {
    (6..=10).contains(&text.len()) && text.iter().all(u8::is_ascii_digit)
}

/// A National Insurance number that was given before the right one was known: `63T12345`.
fn temporary_nino(text: &[u8]) -> bool {
    text.len() == 8
        && text[2].is_ascii_uppercase()
        && text.iter().enumerate().all(|(i, b)| i == 2 || b.is_ascii_digit())
}

fn goes_on(bytes: &[u8]) -> bool {
    let word = bytes.iter().take(LETTERS).take_while(|b| b.is_ascii_alphanumeric()).count();
    word == 1 || bytes[..word].iter().any(u8::is_ascii_digit)
}

/// Letters and digits with single separators between, in capitals.
struct Spelled {
    letters: [u8; LETTERS],
    len: usize,
    /// Where each ends.
    ends: [usize; LETTERS],
}

impl Spelled {
    fn read(bytes: &[u8], start: usize) -> Spelled {
        let mut spelled = Spelled { letters: [0; LETTERS], len: 0, ends: [0; LETTERS] };
        let mut i = start;
        while spelled.len < LETTERS {
            match bytes.get(i) {
                Some(b) if b.is_ascii_alphanumeric() => {
                    spelled.letters[spelled.len] = b.to_ascii_uppercase();
                    spelled.ends[spelled.len] = i + 1;
                    spelled.len += 1;
                }
                Some(b'-' | b'.' | b'/') if bytes.get(i + 1).is_some_and(u8::is_ascii_alphanumeric) => {}
                // Behind a space stands the next word, unless it is a group of the number or its letter.
                Some(b' ' | b'+') if goes_on(&bytes[i + 1..]) => {}
                _ => break,
            }
            i += 1;
        }
        spelled
    }

    /// Where the longest number ends that fits and ends there.
    fn longest(&self, bytes: &[u8], fits: impl Fn(&[u8]) -> bool) -> Option<usize> {
        let lengths = (SHORTEST..=self.len).rev();
        lengths.into_iter().find_map(|length| {
            let end = self.ends[length - 1];
            (bounded(bytes, end) && fits(&self.letters[..length])).then_some(end)
        })
    }
}
