//! Telephone numbers in text, as people write them: `+44 (0)20 7946 0123`, `(0116) 496 0149`, `07700 900123`.

use crate::builtin::Rule;
use crate::context::{Found, Text};
use crate::groups::Groups;
use crate::numbers::{bounded, claim};
use crate::phone::{self, Phone};

/// The longest telephone number with everything people write into it, in bytes.
const SPELLED_BYTES: usize = 40;
const MAX_DIGITS: usize = 16;

/// The telephone number that begins with `groups`, if it is one.
pub(crate) fn find(text: &Text<'_>, groups: &Groups) -> Option<Found> {
    let bytes = text.bytes;
    let mut start = groups.start;
    let plus = text.before(start) == b'+';
    let bracket = text.before(start) == b'(';
    // `0 17376 1959` are columns of a log.
    if !plus && !bracket && groups.len(0) < 2 {
        return None;
    }
    // All other forms are believed only beside a word for telephones.
    if !plus && bytes[start] != b'0' && text.may & Rule::Phone.bit() == 0 {
        return None;
    }
    let spelled = Spelled::read(bytes, groups.start);
    let (end, kind) = spelled.judge(bytes, |number| judge(number, plus, groups.groups > 1))?;
    // `(0116) 496 0149`, but not `(phone)=(07700900123)`.
    let bracket = bracket && bytes[start..end].contains(&b')');
    start -= usize::from(plus || bracket);
    if plus && start > 0 && bytes[start - 1].is_ascii_alphanumeric() {
        return None;
    }
    let dotted = groups.separator == b'.' && !plus;
    let strong = kind == Phone::Strong && !dotted && !text.is_technical(groups.start);
    let believed = strong || text.says(Rule::Phone, groups.start);
    believed.then(|| claim(text, Rule::Phone, start, end))?
}

fn judge(number: &[u8], plus: bool, grouped: bool) -> Phone {
    match number {
        _ if plus => phone::international(number),
        [b'0', b'0', number @ ..] if grouped => phone::international(number),
        [b'0', ..] => phone::national(number),
        [b'4', b'4', ..] if number.len() == 12 => match phone::international(number) {
            Phone::No => Phone::No,
            _ => Phone::Weak,
        },
        _ => phone::north_american(number.strip_prefix(b"1").unwrap_or(number)),
    }
}

/// The digits of a telephone number, and where it may end.
struct Spelled {
    digits: [u8; MAX_DIGITS],
    len: usize,
    /// Places where a group ends, with the digits up to there.
    stops: [(usize, usize); MAX_DIGITS],
    n_stops: usize,
}

impl Spelled {
    /// Reads on over brackets, double spaces and single separators.
    fn read(bytes: &[u8], start: usize) -> Spelled {
        let mut spelled =
            Spelled { digits: [0; MAX_DIGITS], len: 0, stops: [(0, 0); MAX_DIGITS], n_stops: 0 };
        let limit = bytes.len().min(start + SPELLED_BYTES);
        let mut i = start;
        while i < limit {
            let group = bytes[i..].iter().take_while(|b| b.is_ascii_digit()).count();
            if group == 0 || spelled.len + group > MAX_DIGITS {
                break;
            }
            spelled.digits[spelled.len..spelled.len + group].copy_from_slice(&bytes[i..i + group]);
            spelled.len += group;
            i += group;
            spelled.stops[spelled.n_stops] = (spelled.len, i);
            spelled.n_stops += 1;
            i += gap(&bytes[i..]);
        }
        spelled
    }

    /// The longest number that is one, and what it is. A number may end before digits that go on only if those
    /// begin another number: `07700 900123 07700 900456`.
    fn judge(&self, bytes: &[u8], judge: impl Fn(&[u8]) -> Phone) -> Option<(usize, Phone)> {
        self.stops[..self.n_stops].iter().enumerate().rev().find_map(|(n, (len, end))| {
            let next = *end + gap(&bytes[*end..]);
            let goes_on = bytes.get(next).is_some_and(u8::is_ascii_digit);
            let another = goes_on && (bytes[next] == b'0' || bytes[next - 1] == b'+');
            let last = n + 1 == self.n_stops && !goes_on;
            let kind = judge(&self.digits[..*len]);
            let fits = *len >= 7 && kind != Phone::No && (last || another) && bounded(bytes, *end);
            fits.then_some((*end, kind))
        })
    }
}

/// What stands between two groups of digits: one or two separators, with `(0)` if it is there. 0 if the number
/// ends here.
fn gap(bytes: &[u8]) -> usize {
    let separators = |b: &[u8]| {
        b.iter().take(3).take_while(|b| matches!(b, b' ' | b'-' | b'.' | b'+' | b')' | b'(')).count()
    };
    let before = bytes.iter().take(2).take_while(|b| matches!(b, b' ' | b'-')).count();
    if bytes[before..].starts_with(b"(0)") {
        return before + 3 + separators(&bytes[before + 3..]).min(1);
    }
    let gap = separators(bytes);
    if gap <= 2 && bytes.get(gap).is_some_and(u8::is_ascii_digit) { gap } else { 0 }
}
