//! Numbers that identify people: cards, accounts, health, tax, telephones, documents, dates, postcodes.
//!
//! One walk over the digits of a text. A number is looked at as a whole: its neighbours must not be part
//! of a longer run of letters, digits, `-` or `_`, so no telephone number is found inside a UUID.

use crate::builtin::{Rule, RuleSet};
use crate::checks::{self, CardLength};
use crate::classes::{Run, is_run};
use crate::context::{Found, LABEL_BYTES, Text};
use crate::dates::date;
use crate::documents::{iban, nino, plate, postcode};
use crate::labelled::{self, LABELLED};
use crate::{national, network};
use crate::{telephones, tokens};

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
        } else if run.len() <= 4 && (next == b':' || text.before(self.start) == b':') || run.len() == 17 {
            if let Some(found) = network::judge(text, self.start, self.end, colons) {
                return Verdict::Found(found);
            }
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
        let groups = Groups::read(text.bytes, self.start);
        card(text, &groups)
            .or_else(|| bank(text, &groups))
            .or_else(|| nhs(text, &groups))
            .or_else(|| ssn(text, &groups))
            .or_else(|| telephones::find(text, &groups))
            .or_else(|| contextual(text, &groups))
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

/// Groups whose lengths are kept for comparing shapes.
const SHAPED: usize = 5;

/// Digits in groups with single separators, beginning at a place.
pub(crate) struct Groups {
    digits: [u8; 24],
    /// Digits seen up to the end of each group.
    lens: [u8; 10],
    ends: [usize; 10],
    pub(crate) groups: usize,
    pub(crate) start: usize,
    /// The one separator between all groups; 0 if there are several kinds, or only one group.
    pub(crate) separator: u8,
    /// Lengths of the first five groups in hexadecimal, the first highest; 15 stands for all from there on.
    shape: u32,
}

impl Groups {
    fn read(bytes: &[u8], start: usize) -> Groups {
        let mut g = Groups {
            digits: [0; 24],
            lens: [0; 10],
            ends: [0; 10],
            groups: 0,
            start,
            separator: 0,
            shape: 0,
        };
        let (mut total, mut i, mut mixed) = (0, start, false);
        // Byte by byte: groups have four digits or so, for which a call that copies is dear.
        'groups: while g.groups < g.lens.len() {
            let before = total;
            while let Some(digit) = bytes.get(i).filter(|b| b.is_ascii_digit()) {
                let Some(place) = g.digits.get_mut(total) else { break 'groups };
                *place = *digit;
                total += 1;
                i += 1;
            }
            if total == before {
                break;
            }
            (g.lens[g.groups], g.ends[g.groups]) = (total as u8, i);
            if g.groups < SHAPED {
                g.shape |= ((total - before).min(15) as u32) << (4 * (SHAPED - 1 - g.groups));
            }
            g.groups += 1;
            let Some(&separator) = bytes.get(i) else { break };
            let next_is_digit = bytes.get(i + 1).is_some_and(u8::is_ascii_digit);
            if !matches!(separator, b' ' | b'-' | b'+' | b'.') || !next_is_digit {
                break;
            }
            mixed |= g.separator != 0 && g.separator != separator;
            g.separator = separator;
            i += 1;
        }
        if mixed {
            g.separator = 0;
        }
        g
    }

    /// The first `groups` groups: their digits and where they end; `None` unless the number ends there.
    fn first(&self, groups: usize, bytes: &[u8]) -> Option<(&[u8], usize)> {
        if groups == 0 || groups > self.groups {
            return None;
        }
        let end = self.ends[groups - 1];
        bounded(bytes, end).then(|| (&self.digits[..usize::from(self.lens[groups - 1])], end))
    }

    pub(crate) fn len(&self, group: usize) -> usize {
        let before = if group == 0 { 0 } else { self.lens[group - 1] };
        usize::from(self.lens[group] - before)
    }

    /// The lengths of the first `count` groups, as [`CARD_SHAPES`] writes them; `None` if there are fewer.
    fn shape(&self, count: usize) -> Option<u32> {
        (count <= self.groups).then(|| self.shape >> (4 * (SHAPED - count)))
    }
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

/// How the digits of cards are grouped: lengths in hexadecimal, the first group highest.
const CARD_SHAPES: [(usize, u32); 9] = [
    (4, 0x4444),
    (3, 0x465),
    (3, 0x464),
    (5, 0x4_4443),
    (4, 0x4441),
    (3, 0x445),
    (2, 0x88),
    (3, 0x444),
    (3, 0x645),
];

fn card(text: &Text<'_>, groups: &Groups) -> Option<Found> {
    // No issuer's usual numbers begin otherwise; of rare ones a word must speak.
    let spoken_for = text.may & Rule::Card.bit() != 0;
    if !spoken_for && !matches!(groups.digits[0], b'2'..=b'6') {
        return None;
    }
    let ends = |(count, shape): &&(usize, u32)| {
        groups.shape(*count) == Some(*shape)
            && (spoken_for || matches!(groups.lens[count - 1], 14..=16))
            && groups.first(*count, text.bytes).is_some_and(|(d, _)| checks::luhn(d))
    };
    let shape = if groups.groups == 1 { 1 } else { CARD_SHAPES.iter().find(ends).map_or(1, |s| s.0) };
    let contiguous = groups.first(1, text.bytes).filter(|(d, _)| d.len() >= 12);
    let (digits, end) = match contiguous {
        Some(one) => one,
        None if shape == 1 && !spoken_for => return None,
        None if shape > 1 => groups.first(shape, text.bytes)?,
        // Unusual groups are believed under a name that says card: `3714 496353 98431`, `40128888 88881881`.
        None if groups.groups > 1 && groups.separator != b'.' => groups.first(groups.groups, text.bytes)?,
        None => return None,
    };
    if !(12..=19).contains(&digits.len()) {
        return None;
    }
    let grouped_oddly = contiguous.is_none() && shape == 1;
    let length = checks::card_length(digits);
    // Under a name that says card, what passes Luhn's check is one even if no issuer is known.
    let issued = length != CardLength::None || spoken_for;
    if !issued || !checks::luhn(digits) || digits.iter().all(|d| *d == digits[0]) {
        return None;
    }
    let sure = length == CardLength::Usual && !grouped_oddly;
    // Numbers of 64 bits in decimal and epochs in nanoseconds have nineteen digits.
    if sure && !text.is_technical_long(groups.start, digits.len()) || text.says(Rule::Card, groups.start) {
        return claim(text, Rule::Card, groups.start, end);
    }
    None
}

impl Text<'_> {
    fn is_technical_long(&self, place: usize, digits: usize) -> bool {
        digits > 16 && self.is_technical(place)
    }
}

fn nhs(text: &Text<'_>, groups: &Groups) -> Option<Found> {
    let (digits, end) = if groups.shape(3) == Some(0x334) {
        groups.first(3, text.bytes)?
    } else if groups.len(0) == 10 {
        groups.first(1, text.bytes)?
    } else {
        return None;
    };
    if !checks::nhs(digits) || groups.separator == b'.' && groups.groups >= 3 {
        return None;
    }
    let grouped = groups.len(0) == 3;
    let believed = text.says(Rule::Nhs, groups.start)
        || checks::nhs_range(digits)
            && (grouped || stands_alone(text, groups.start, end))
            && !text.is_technical(groups.start);
    believed.then(|| claim(text, Rule::Nhs, groups.start, end))?
}

/// Whether a number is a whole path segment, a whole value, or quoted: not one word of a sentence.
fn stands_alone(text: &Text<'_>, start: usize, end: usize) -> bool {
    let open = matches!(text.before(start), b'/' | b'=' | b'"' | b'\'' | b'>') || start == 0;
    let close = matches!(text.at(end), b'/' | b'&' | b'"' | b'\'' | b'<' | b'?' | b' ' | b'\\' | b',');
    open && close
}

fn ssn(text: &Text<'_>, groups: &Groups) -> Option<Found> {
    let grouped = groups.shape(3) == Some(0x324) && groups.separator_of(3, text.bytes);
    let dashed = grouped && text.at(groups.ends[0]) == b'-';
    let (digits, end) = groups.first(if grouped { 3 } else { 1 }, text.bytes)?;
    if digits.len() != 9 || !checks::ssn(digits) {
        return None;
    }
    let believed = dashed || text.says(Rule::Ssn, groups.start);
    believed.then(|| claim(text, Rule::Ssn, groups.start, end))?
}

/// Sort code (three pairs of digits) or account number, beside words that say so.
fn bank(text: &Text<'_>, groups: &Groups) -> Option<Found> {
    if text.may & Rule::BankAccount.bit() == 0 {
        return None;
    }
    let sort_code = groups.shape(3) == Some(0x222) && groups.separator_of(3, text.bytes);
    let count = match groups.groups {
        _ if sort_code && groups.groups >= 4 && (7..=8).contains(&groups.len(3)) => 4,
        _ if sort_code => 3,
        _ if groups.len(0) == 6 && groups.groups >= 2 && (7..=8).contains(&groups.len(1)) => 2,
        _ if (6..=12).contains(&groups.len(0)) && groups.len(0) != 10 => 1,
        _ => return None,
    };
    let (digits, end) = groups.first(count, text.bytes)?;
    let bare = count == 1;
    // Eight digits are common, so a name must label them; a sort code needs only a word near by.
    let said = if bare {
        text.is_labelled(Rule::BankAccount, groups.start)
            || (digits.len() == 8 && text.near_tight(Rule::BankAccount, groups.start))
    } else {
        text.says(Rule::BankAccount, groups.start)
    };
    said.then(|| claim(text, Rule::BankAccount, groups.start, end))?
}

impl Groups {
    /// Whether the first `groups` groups are joined by one kind of separator.
    fn separator_of(&self, groups: usize, bytes: &[u8]) -> bool {
        let first = bytes.get(self.ends[0]);
        self.groups >= groups && (1..groups - 1).all(|g| bytes.get(self.ends[g]) == first)
    }
}

impl Text<'_> {
    /// Whether the word right before `place` hints at `rule`.
    fn near_tight(&self, rule: Rule, place: usize) -> bool {
        let after = self.hits.partition_point(|h| (h.end as usize) <= place);
        let last = self.hits[..after].last();
        last.is_some_and(|h| self.lexicon.hints(h) & rule.bit() != 0 && place - (h.end as usize) <= 12)
            && self.labelled(place).name.is_none()
    }
}

/// Numbers that only a word beside them tells apart: taxpayer reference, device, passport.
fn contextual(text: &Text<'_>, groups: &Groups) -> Option<Found> {
    let spoken_for = Rule::Utr.bit() | Rule::Imei.bit() | Rule::Passport.bit() | Rule::DrivingLicence.bit();
    if text.may & spoken_for == 0 {
        return None;
    }
    let says = |rule: Rule| text.says(rule, groups.start);
    let whole = |rule: Rule, end: usize| claim(text, rule, groups.start, end);
    // `71452 37376`, `112 345 678 9`, `8431418219K`, thirteen digits with a leading service code.
    let count = (1..=groups.groups).find(|g| groups.lens[g - 1] >= 10).unwrap_or(1);
    let end = groups.ends[count - 1];
    let digits = &groups.digits[..usize::from(groups.lens[count - 1])];
    let suffix = usize::from(matches!(text.at(end), b'K' | b'k'));
    if matches!(digits.len(), 10 | 13)
        && bounded(text.bytes, end + suffix)
        && says(Rule::Utr)
        && checks::utr(&digits[digits.len() - 10..])
    {
        return whole(Rule::Utr, end + suffix);
    }
    // `35-209900-176148-1`
    let all = groups.first(groups.groups, text.bytes);
    if let Some((digits, end)) = all.filter(|(d, _)| d.len() == 15)
        && says(Rule::Imei)
        && checks::luhn(digits)
    {
        return whole(Rule::Imei, end);
    }
    let (digits, end) = groups.first(1, text.bytes)?;
    match digits.len() {
        15 if says(Rule::Imei) => whole(Rule::Imei, end),
        9 if says(Rule::Passport) => whole(Rule::Passport, end),
        8 if says(Rule::DrivingLicence) => whole(Rule::DrivingLicence, end),
        _ => None,
    }
}
