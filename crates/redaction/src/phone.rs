//! Telephone numbers: the numbering plan of the United Kingdom, and what an international number looks like.

/// What digits say about being a telephone number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phone {
    /// Not one.
    No,
    /// Possible; believed only beside a word that says telephone.
    Weak,
    /// Fits the numbering plan of the UK in full, or is written internationally.
    Strong,
}

/// Judges a national number of the UK, `digits` beginning with the trunk prefix 0 (Ofcom, National
/// Telephone Numbering Plan): which first digits exist and how many follow.
pub(crate) fn national(digits: &[u8]) -> Phone {
    let [b'0', number @ ..] = digits else { return Phone::No };
    if digits.iter().all(|d| *d == b'0') {
        return Phone::No;
    }
    match number {
        _ if significant(number) => Phone::Strong,
        // A digit short or in no range: mistyped, or a range opened since.
        [b'1'..=b'9', ..] if (9..=10).contains(&number.len()) => Phone::Weak,
        _ => Phone::No,
    }
}

/// Judges a national significant number of the UK, without 0 or +44.
fn significant(number: &[u8]) -> bool {
    match (number, number.len()) {
        // Geographic: ten digits, or nine in a few old areas (1204, 1332 and others).
        ([b'1', ..], 9 | 10) => number[1] != b'0',
        ([b'2', b'0' | b'3' | b'4' | b'8' | b'9', ..], 10) => true,
        ([b'3', b'0' | b'3' | b'4' | b'7', ..], 10) => true,
        ([b'5', b'5' | b'6', ..], 10) => true,
        ([b'7', b'0'..=b'9', ..], 10) => true,
        ([b'8', b'0' | b'4' | b'7', ..], 7 | 9 | 10) => number[1] == b'0' || number.len() != 9,
        ([b'9', b'0' | b'1' | b'8', ..], 10) => true,
        _ => false,
    }
}

/// Judges a number written with + or 00, `digits` beginning with the country code (ITU-T E.164: at most
/// fifteen digits). `0` in brackets after +44 has been removed by the caller.
pub(crate) fn international(digits: &[u8]) -> Phone {
    match digits {
        [b'4', b'4', rest @ ..] => {
            let rest = rest.strip_prefix(b"0").unwrap_or(rest);
            if significant(rest) {
                Phone::Strong
            } else if (7..=11).contains(&rest.len()) {
                Phone::Weak
            } else {
                Phone::No
            }
        }
        [b'1', area, rest @ ..] if rest.len() == 9 => {
            if *area >= b'2' {
                Phone::Strong
            } else {
                Phone::No
            }
        }
        [b'0', ..] => Phone::No,
        _ if (9..=15).contains(&digits.len()) => Phone::Strong,
        _ if (7..=8).contains(&digits.len()) => Phone::Weak,
        _ => Phone::No,
    }
}

/// Judges a number of North America without country code: area and exchange do not begin with 0 or 1.
pub(crate) fn north_american(digits: &[u8]) -> Phone {
    if digits.len() == 10 && digits[0] >= b'2' && digits[3] >= b'2' { Phone::Weak } else { Phone::No }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn national_numbers_follow_the_plan() {
        for number in ["01632960251", "07700900123", "02079460123", "08001111", "0800111111", "03001234567"] {
            assert_eq!(national(number.as_bytes()), Phone::Strong, "{number}");
        }
        for number in ["0123", "00000000000", "1632960251", "012345678901"] {
            assert_eq!(national(number.as_bytes()), Phone::No, "{number}");
        }
        for number in ["04001234567", "09999999999", "02279460123", "0289018153"] {
            assert_eq!(national(number.as_bytes()), Phone::Weak, "{number}");
        }
    }

    #[test]
    fn international_numbers_need_a_country_code() {
        assert_eq!(international(b"447021667022"), Phone::Strong);
        assert_eq!(international(b"4401614960064"), Phone::Strong);
        assert_eq!(international(b"33123456789"), Phone::Strong);
        assert_eq!(international(b"14155550123"), Phone::Strong);
        assert_eq!(international(b"0100"), Phone::No);
        assert_eq!(international(b"4412345"), Phone::No);
        assert_eq!(north_american(b"4155550123"), Phone::Weak);
        assert_eq!(north_american(b"1795310607"), Phone::No);
    }
}
