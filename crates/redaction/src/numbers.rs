//! Numbers that identify people: cards, accounts, health, tax, telephones, documents, dates, postcodes.
//!
//! One walk over the digits of a text. A number is looked at as a whole: its neighbours must not be part
//! of a longer run of letters, digits, `-` or `_`, so no telephone number is found inside a UUID.

use crate::builtin::{Rule, RuleSet};
use crate::checks;
use crate::classes::{Run, is_run};
use crate::context::{Found, LABEL_BYTES, Text};
use crate::dates::date;
use crate::documents::{iban, nino, plate, postcode};
use crate::labelled::{self, LABELLED};
use crate::{groups, national, network, tokens};

/// Adds what the runs with digits in `text` say.
pub(crate) fn find(text: &Text<'_>, runs: &[Run], found: &mut Vec<Found>) {
    let (mut floor, mut colons) = (0, 0);
    // What no word near a number speaks for need not be tried there.
    let (mut near, mut words) = (*text, Nearby::default());
    for run in runs {
        // `-0.1278`: the sign is not part of the number's form.
        let start = run.start as usize + usize::from(text.bytes[run.start as usize] == b'-');
        let number = Number { start, end: run.end as usize, pure: run.pure };
        if number.start < floor {
            continue;
        }
        near.may = words.may_at(text, start);
        match number.judge(&near, &mut colons) {
            Verdict::Nothing => {}
            Verdict::Idle(end) => floor = end,
            Verdict::Found(hit) => {
                floor = hit.end;
                found.push(hit);
            }
        }
    }
}

/// What a number turned out to be.
enum Verdict {
    Nothing,
    /// Something that no rule takes, up to this place.
    Idle(usize),
    Found(Found),
}

impl From<Option<Found>> for Verdict {
    fn from(found: Option<Found>) -> Verdict {
        found.map_or(Verdict::Nothing, Verdict::Found)
    }
}

/// The words before a number that is looked at, numbers being taken in order.
#[derive(Default)]
struct Nearby {
    /// Words before this one are too far away.
    first: usize,
    /// Words from this one on stand behind the number.
    after: usize,
}

impl Nearby {
    /// Rules that a word before `place`, or the field's name, may speak for there.
    fn may_at(&mut self, text: &Text<'_>, place: usize) -> RuleSet {
        if text.may == 0 {
            return 0;
        }
        while text.hits.get(self.after).is_some_and(|h| h.end as usize <= place) {
            self.after += 1;
        }
        while self.first < self.after && (text.hits[self.first].end as usize) + LABEL_BYTES < place {
            self.first += 1;
        }
        text.hits[self.first..self.after].iter().fold(text.field_may, |may, hit| may | text.lexicon.may(hit))
    }
}

/// The same for a text whose words do not matter.
pub(crate) fn find_alone(text: &Text<'_>, found: &mut Vec<Found>) {
    let bytes = text.bytes;
    let mut i = 0;
    let mut runs = Vec::new();
    while i < bytes.len() {
        let length = bytes[i..].iter().take_while(|b| is_run(**b)).count();
        let digits = bytes[i..i + length].iter().filter(|b| b.is_ascii_digit()).count();
        if digits > 0 {
            runs.push(Run { start: i as u32, end: (i + length) as u32, pure: digits == length });
        }
        i += length.max(1);
    }
    find(text, &runs, found);
}

/// A run of letters, digits, `-` and `_` that holds a digit.
#[derive(Clone, Copy)]
struct Number {
    start: usize,
    end: usize,
    /// Whether it has digits only.
    pure: bool,
}

/// Rules that need a word beside a number and are otherwise not tried.
const SPOKEN_FOR: RuleSet = Rule::Geo.bit()
    | Rule::DateOfBirth.bit()
    | Rule::Postcode.bit()
    | Rule::Plate.bit()
    | SPOKEN_FOR_IN_GROUPS
    | LABELLED;

/// Those of them whose digits people write in groups.
const SPOKEN_FOR_IN_GROUPS: RuleSet = Rule::BankAccount.bit()
    | Rule::Utr.bit()
    | Rule::Imei.bit()
    | Rule::Passport.bit()
    | Rule::DrivingLicence.bit()
    | Rule::Card.bit()
    | Rule::Nhs.bit()
    | Rule::Ssn.bit()
    | Rule::Phone.bit();

impl Number {
    fn judge(self, text: &Text<'_>, colons: &mut usize) -> Verdict {
        let run = &text.bytes[self.start..self.end];
        let next = text.at(self.end);
        if is_uuid(run) {
            return Verdict::Nothing;
        }
        let unmarked = matches!(run.len(), 34..=38) || matches!(next, b'.' | b':' | b'~');
        if unmarked
            && (run.len() >= 8 || next == b'~')
            && let Some((end, rule)) = tokens::unmarked(text.bytes, self.start, self.end)
        {
            return claim(text, rule, self.start, end).into();
        }
        let digit = run[0].is_ascii_digit();
        if run.len() <= 3 && next == b'.' && digit {
            match network::ipv4(text, self.start) {
                Some((end, None)) => return Verdict::Idle(end),
                Some((end, Some(rule))) => return claim(text, rule, self.start, end).into(),
                None => {}
            }
        } else if (run.len() <= 4 && (next == b':' || text.before(self.start) == b':') || run.len() == 17)
            && let Some(found) = network::judge(text, self.start, self.end, colons)
        {
            return Verdict::Found(found);
        }
        let other =
            if digit { self.after_letters(text).or_else(|| self.number(text)) } else { self.lettered(text) };
        other.or_else(|| self.crypto(text)).into()
    }

    /// `HA 800041 B`: the letters stand before a space.
    fn after_letters(self, text: &Text<'_>) -> Option<Found> {
        let [.., a, b, b' ' | b'+'] = &text.bytes[..self.start] else { return None };
        let letters = a.is_ascii_alphabetic() && b.is_ascii_alphabetic();
        if letters && !is_run(text.before(self.start - 3)) { nino(text, self.start - 3) } else { None }
    }

    /// A run that begins with a digit.
    fn number(self, text: &Text<'_>) -> Option<Found> {
        let before = text.before(self.start);
        let inside_decimal = before == b'.' && self.start >= 2 && text.bytes[self.start - 2].is_ascii_digit();
        if inside_decimal {
            return None;
        }
        if text.may & SPOKEN_FOR == 0 {
            return self.grouped(text);
        }
        self.geo(text)
            .or_else(|| date(text, self.start))
            .or_else(|| labelled::find(text, self.start))
            .or_else(|| self.grouped(text))
            .or_else(|| plate(text, self.start))
            .or_else(|| self.zip(text))
    }

    /// A number that may have its digits in groups.
    fn grouped(self, text: &Text<'_>) -> Option<Found> {
        if text.may & SPOKEN_FOR_IN_GROUPS == 0 && !self.may_prove_itself(text) {
            return None;
        }
        groups::find(text, self.start)
    }

    /// Whether a number that no word speaks for can be anything: long enough alone, or the first of several
    /// groups, or written as a telephone number.
    fn may_prove_itself(self, text: &Text<'_>) -> bool {
        let length = self.end - self.start;
        let pure = self.pure;
        let next = text.at(self.end);
        if matches!(text.before(self.start), b'+' | b'(') {
            return true;
        }
        let zero = text.bytes[self.start] == b'0';
        let grouped = matches!(next, b' ' | b'+' | b'.') && text.at(self.end + 1).is_ascii_digit();
        match length {
            0..=2 => false,
            // 0116 496 0149, 943 476 5919, 4111 1111 …, (0116)496…
            3..=8 if pure => {
                if zero {
                    return matches!(next, b' ' | b')' | b'+');
                }
                if !grouped || next == b'.' {
                    return false;
                }
                // Columns of a log are numbers with spaces between as well: the second group tells most apart.
                let rest = &text.bytes[self.end + 1..];
                let second = rest.iter().take(9).take_while(|b| b.is_ascii_digit()).count();
                matches!((length, second), (3, 2 | 3) | (4, 4..=6) | (6, 4) | (8, 8))
            }
            // Epochs, offsets and 64-bit ids are most of the long numbers, and no card begins as they do.
            _ if pure => match (length, text.bytes[self.start]) {
                (10, _) | (11 | 13 | 14, b'0') | (14..=16, b'2'..=b'6') => true,
                _ => grouped && zero,
            },
            // With `-`: 4111-1111-1111-1111, 002-36-5196, 0116-496-0149.
            _ => {
                let run = &text.bytes[self.start..self.end];
                (9..=24).contains(&length)
                    && run.iter().all(|b| b.is_ascii_digit() || *b == b'-')
                    && run.iter().filter(|b| b.is_ascii_digit()).count() >= 9
            }
        }
    }

    /// A run that begins with a letter.
    fn lettered(self, text: &Text<'_>) -> Option<Found> {
        let run = &text.bytes[self.start..self.end];
        if text.before(self.start) == b'.' && run.len() > 30 {
            return None;
        }
        if text.may & SPOKEN_FOR == 0 {
            let letters = run.iter().take(3).take_while(|b| b.is_ascii_alphabetic()).count();
            return match letters {
                // A licence has sixteen, and nothing else begins with three letters unless a word speaks for it.
                3 if run.len() == 16 => self.licence(text).or_else(|| self.national(text)),
                3 => None,
                // What proves itself goes on with a digit: `GB29 …`, `AB123456C`, `SW1A 1AA`.
                _ if run.len() == 16 || run.get(letters).is_some_and(u8::is_ascii_digit) => {
                    self.proves_itself(text, letters)
                }
                _ => {
                    if letters == 2 {
                        nino(text, self.start)
                    } else {
                        None
                    }
                }
            };
        }
        iban(text, self.start)
            .or_else(|| self.zone(text))
            .or_else(|| self.national(text))
            .or_else(|| labelled::find(text, self.start))
            .or_else(|| nino(text, self.start))
            .or_else(|| self.licence(text))
            .or_else(|| postcode(text, self.start))
            .or_else(|| plate(text, self.start))
            .or_else(|| self.passport(text))
            .or_else(|| self.utr(text))
            .or_else(|| date(text, self.start))
    }

    /// A run that begins with one or two letters and a digit, and for which no word speaks.
    fn proves_itself(self, text: &Text<'_>, letters: usize) -> Option<Found> {
        let two = letters == 2;
        let first = if two { iban(text, self.start) } else { None };
        first
            .or_else(|| self.zone(text))
            .or_else(|| if two { nino(text, self.start) } else { None })
            .or_else(|| self.licence(text))
            .or_else(|| postcode(text, self.start))
    }

    fn licence(self, text: &Text<'_>) -> Option<Found> {
        let run = &text.bytes[self.start..self.end];
        checks::driving_licence(run).then(|| self.found(text, Rule::DrivingLicence))?
    }

    /// The Italian code holds names, birth date and place, and proves itself by form and letter.
    fn national(self, text: &Text<'_>) -> Option<Found> {
        let run: [u8; 16] = text.bytes[self.start..self.end].try_into().ok()?;
        national::italian_code(&run.map(|b| b.to_ascii_uppercase()))
            .then(|| self.found(text, Rule::NationalId))?
    }

    /// The second line of a passport's machine-readable zone; the filler `<` is no part of a run.
    fn zone(self, text: &Text<'_>) -> Option<Found> {
        if self.end - self.start < 28 && text.at(self.end) != b'<' {
            return None;
        }
        let line = &text.bytes[self.start..text.bytes.len().min(self.start + 44)];
        let length = line.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'<').count();
        let found = national::passport_zone(&line[..length]);
        found.then(|| claim(text, Rule::Passport, self.start, self.start + length))?
    }

    /// Passports of the UK since 2015 and elsewhere: one or two letters and seven digits or so.
    fn passport(self, text: &Text<'_>) -> Option<Found> {
        if text.may & Rule::Passport.bit() == 0 {
            return None;
        }
        let run = &text.bytes[self.start..self.end];
        let letters = run.iter().take_while(|b| b.is_ascii_alphabetic()).count();
        let shape = (1..=2).contains(&letters)
            && (6..=8).contains(&(run.len() - letters))
            && run[letters..].iter().all(u8::is_ascii_digit);
        (shape && text.says(Rule::Passport, self.start)).then(|| self.found(text, Rule::Passport))?
    }

    /// A taxpayer reference with its letter first: `K1232611912725`.
    fn utr(self, text: &Text<'_>) -> Option<Found> {
        let [b'K' | b'k', digits @ ..] = &text.bytes[self.start..self.end] else { return None };
        let shape = matches!(digits.len(), 10 | 13) && digits.iter().all(u8::is_ascii_digit);
        let fits = shape && checks::utr(&digits[digits.len() - 10..]) && text.says(Rule::Utr, self.start);
        fits.then(|| self.found(text, Rule::Utr))?
    }

    fn crypto(self, text: &Text<'_>) -> Option<Found> {
        let run = &text.bytes[self.start..self.end];
        (run.len() >= 14 && checks::bitcoin(run)).then(|| self.found(text, Rule::Crypto))?
    }

    /// A postcode of another country under a name that says so: `zip=90210-1234`.
    fn zip(self, text: &Text<'_>) -> Option<Found> {
        let run = &text.bytes[self.start..self.end];
        let digits = run.iter().filter(|b| b.is_ascii_digit()).count();
        let shape = (4..=10).contains(&run.len()) && digits >= 4;
        (shape && text.may & Rule::Postcode.bit() != 0 && text.is_labelled(Rule::Postcode, self.start))
            .then(|| self.found(text, Rule::Postcode))?
    }

    /// Degrees with at least three decimals under a name that says so, and the pair after a comma.
    fn geo(self, text: &Text<'_>) -> Option<Found> {
        let bytes = text.bytes;
        if text.may & Rule::Geo.bit() == 0 {
            return None;
        }
        let end = degrees(bytes, self.start)?;
        if !text.allows(Rule::Geo) || !text.says(Rule::Geo, self.start) {
            return None;
        }
        let start = if text.before(self.start) == b'-' { self.start - 1 } else { self.start };
        let mut next = end;
        while matches!(bytes.get(next), Some(b',' | b' ' | b';' | b'+')) && next < end + 3 {
            next += 1;
        }
        let second = next + usize::from(bytes.get(next) == Some(&b'-'));
        let end = if next > end { degrees(bytes, second).unwrap_or(end) } else { end };
        Some(Found { start, end, rule: Rule::Geo.id() })
    }

    fn found(self, text: &Text<'_>, rule: Rule) -> Option<Found> {
        claim(text, rule, self.start, self.end)
    }
}

pub(crate) fn claim(text: &Text<'_>, rule: Rule, start: usize, end: usize) -> Option<Found> {
    text.allows(rule).then_some(Found { start, end, rule: rule.id() })
}

fn is_uuid(run: &[u8]) -> bool {
    run.len() == 36 && [8, 13, 18, 23].iter().all(|i| run[*i] == b'-')
}

fn degrees(bytes: &[u8], start: usize) -> Option<usize> {
    let whole = bytes.get(start..)?.iter().take_while(|b| b.is_ascii_digit()).count();
    if !(1..=3).contains(&whole) || bytes.get(start + whole) != Some(&b'.') {
        return None;
    }
    let fraction = bytes[start + whole + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
    let end = start + whole + 1 + fraction;
    let bounded = !bytes.get(end).is_some_and(u8::is_ascii_alphabetic);
    ((3..=17).contains(&fraction) && bounded).then_some(end)
}

/// Whether a number may end at `end`: no letter, digit, `_` or `-` follows, and no decimals.
pub(crate) fn bounded(bytes: &[u8], end: usize) -> bool {
    match bytes.get(end) {
        Some(b'-') => !bytes.get(end + 1).is_some_and(u8::is_ascii_alphanumeric),
        Some(b'.') => !bytes.get(end + 1).is_some_and(u8::is_ascii_digit),
        Some(b) => !b.is_ascii_alphanumeric() && *b != b'_',
        None => true,
    }
}
