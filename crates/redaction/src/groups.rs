//! Numbers whose digits people write in groups: cards, accounts, health, tax, telephones, devices.

use crate::builtin::Rule;
use crate::checks::{self, CardLength};
use crate::context::{Found, Text};
use crate::numbers::{bounded, claim};
use crate::telephones;

/// What the digits that begin at `start` are, alone or with those behind single separators.
pub(crate) fn find(text: &Text<'_>, start: usize) -> Option<Found> {
    let groups = Groups::read(text.bytes, start);
    card(text, &groups)
        .or_else(|| bank(text, &groups))
        .or_else(|| nhs(text, &groups))
        .or_else(|| ssn(text, &groups))
        .or_else(|| telephones::find(text, &groups))
        .or_else(|| contextual(text, &groups))
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
