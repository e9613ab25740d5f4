//! Dates of birth: a date is one only beside a word that says so.

use crate::builtin::Rule;
use crate::checks;
use crate::context::{Found, Text};
use crate::numbers::{bounded, claim};

/// A date beside a word for birth: `1940-06-23`, `20/06/1940`, `12 March 1980`, with time if any.
pub(crate) fn date(text: &Text<'_>, start: usize) -> Option<Found> {
    let bytes = text.bytes;
    if text.may & Rule::DateOfBirth.bit() == 0 {
        return None;
    }
    let end = numeric_date(bytes, start).or_else(|| written_date(bytes, start))?;
    (text.allows(Rule::DateOfBirth) && text.says(Rule::DateOfBirth, start))
        .then(|| claim(text, Rule::DateOfBirth, start, end))?
}

fn numeric_date(bytes: &[u8], start: usize) -> Option<usize> {
    let number = |at: usize| {
        let digits = bytes.get(at..)?.iter().take_while(|b| b.is_ascii_digit()).count();
        let value = bytes[at..at + digits].iter().take(4).fold(0u32, |v, d| v * 10 + u32::from(d - b'0'));
        (1..=8).contains(&digits).then_some((value, at + digits, digits))
    };
    let (first, at, first_digits) = number(start)?;
    if first_digits == 8 {
        let month_day = (checks::two(&bytes[start + 4..]), checks::two(&bytes[start + 6..]));
        return checks::birth_date(month_day.1, month_day.0, first).then_some(at);
    }
    let separator = |at: usize| matches!(bytes.get(at), Some(b'-' | b'/' | b'.' | b' '));
    if !separator(at) {
        return None;
    }
    let (second, at, _) = number(at + 1)?;
    if !separator(at) {
        return None;
    }
    let (third, end, third_digits) = number(at + 1)?;
    let fits = match (first_digits, third_digits) {
        (4, 1 | 2) => checks::birth_date(third, second, first),
        (1 | 2, 4) => checks::birth_date(first, second, third) || checks::birth_date(second, first, third),
        (1 | 2, 2) => {
            checks::birth_date(first, second, 1900 + third) || checks::birth_date(second, first, 1900 + third)
        }
        _ => false,
    };
    let time = bytes.get(end) == Some(&b'T') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
    let end = if time {
        end + bytes[end..]
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'.' | b'+' | b'-'))
            .count()
    } else {
        end
    };
    fits.then_some(end)
}

fn written_date(bytes: &[u8], start: usize) -> Option<usize> {
    const MONTHS: &str = "jan feb mar apr may jun jul aug sep oct nov dec";
    let is_month = |w: &[u8]| {
        w.len() >= 3 && MONTHS.split(' ').any(|m| m.as_bytes().eq_ignore_ascii_case(&w[..3])) && w.len() <= 9
    };
    let (mut i, mut words, mut month, mut numbers) = (start, 0, false, 0);
    let mut end = start;
    while words < 3 {
        let length = bytes.get(i..)?.iter().take_while(|b| b.is_ascii_alphanumeric()).count();
        let word = &bytes[i..i + length];
        let digits = word.iter().take_while(|b| b.is_ascii_digit()).count();
        match () {
            () if is_month(word) => month = true,
            () if (1..=4).contains(&digits)
                && (digits == length || (digits <= 2 && length == digits + 2)) =>
            {
                numbers += 1;
            }
            () => break,
        }
        words += 1;
        end = i + length;
        i = end + bytes[end..].iter().take_while(|b| matches!(b, b' ' | b',' | b'-' | b'/')).count().min(2);
    }
    (month && numbers == 2 && bounded(bytes, end)).then_some(end)
}
