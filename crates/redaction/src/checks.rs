//! Check digits and structures: what tells a number of a kind from a number that only looks like one.
//!
//! Every function takes digits or letters without separators; the caller strips those.

/// Luhn's check (ISO/IEC 7812-1, annex B), as payment cards and IMEIs use it.
pub(crate) fn luhn(digits: &[u8]) -> bool {
    let pairs = digits.rchunks_exact(2);
    let first = pairs.remainder().iter().map(|d| u32::from(d - b'0'));
    let sum: u32 =
        first.chain(pairs.map(|two| DOUBLED[usize::from(two[0] - b'0')] + u32::from(two[1] - b'0'))).sum();
    !digits.is_empty() && sum.is_multiple_of(10)
}

/// The sum of the digits of twice each digit.
const DOUBLED: [u32; 10] = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];

/// How sure a card's issuer prefix and length make us, before Luhn's check.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CardLength {
    /// No issuer has such numbers.
    None,
    /// An issuer has, but rarely: believed only beside a word that says card.
    Rare,
    /// The usual length of this issuer.
    Usual,
}

/// Which lengths the issuers' ranges have (ISO/IEC 7812 ranges as the schemes publish them).
pub(crate) fn card_length(digits: &[u8]) -> CardLength {
    let prefix = |n: usize| digits.iter().take(n).fold(0u32, |p, d| p * 10 + u32::from(d - b'0'));
    let (two, three, four) = (prefix(2), prefix(3), prefix(4));
    let usual = match digits.len() {
        14 => two == 36 || two == 38 || (300..=305).contains(&three),
        15 => two == 34 || two == 37,
        16 => {
            digits.first() == Some(&b'4')
                || (51..=55).contains(&two)
                || (2221..=2720).contains(&four)
                || four == 6011
                || two == 65
                || (644..=649).contains(&three)
                || two == 62
                || (3528..=3589).contains(&four)
                || (2200..=2204).contains(&four)
                || (60..=60).contains(&two) && four != 6000
        }
        _ => false,
    };
    let rare = match digits.len() {
        12..=19 if matches!(two, 50 | 56..=69) => true,
        13 | 18 | 19 => digits.first() == Some(&b'4') || two == 62,
        15 => four == 2131 || four == 1800,
        16 => matches!(two, 30 | 36 | 38 | 39),
        _ => false,
    };
    match (usual, rare) {
        (true, _) => CardLength::Usual,
        (false, true) => CardLength::Rare,
        _ => CardLength::None,
    }
}

/// ISO 7064 mod 97-10, as IBANs use it (ISO 13616), with the country's length where it is registered.
pub(crate) fn iban(text: &[u8]) -> bool {
    if text.len() < 15 || iban_length(&text[..2]).is_some_and(|want| want != text.len()) {
        return false;
    }
    let rotated = text[4..].iter().chain(&text[..4]);
    let mut rest = 0u32;
    for byte in rotated {
        rest = match byte {
            b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
            b'A'..=b'Z' | b'a'..=b'z' => (rest * 100 + u32::from(byte.to_ascii_uppercase() - b'A') + 10) % 97,
            _ => return false,
        };
    }
    rest == 1
}

/// Lengths from the IBAN registry (SWIFT), release 99; `None` for a country not in it.
fn iban_length(country: &[u8]) -> Option<usize> {
    const LENGTHS: &[(usize, &str)] = &[
        (15, "NO"),
        (16, "BE"),
        (18, "DK FI FO GL NL SD"),
        (19, "MK SI"),
        (20, "AT BA EE KZ LT LU XK MN"),
        (21, "CH CR HR LI LV"),
        (22, "BG BH DE GB GE IE ME RS VA"),
        (23, "AE GI IL IQ OM SO TL"),
        (24, "AD CZ ES MD PK RO SA SE SK TN VG"),
        (25, "LY PT ST"),
        (26, "IS TR"),
        (27, "BI DJ FR GR IT MC MR SM"),
        (28, "AL AZ BY CY DO GT HN HU LB NI PL SV"),
        (29, "BR EG PS QA UA"),
        (30, "JO KW MU YE"),
        (31, "MT SC"),
        (32, "LC"),
        (33, "RU"),
    ];
    let country = [country[0].to_ascii_uppercase(), country[1].to_ascii_uppercase()];
    let find = |list: &str| list.as_bytes().chunks(3).any(|c| c[..2] == country);
    LENGTHS.iter().find(|(_, list)| find(list)).map(|(length, _)| *length)
}

/// Whether an IBAN may begin with these letters: a registered country.
pub(crate) fn iban_country(country: &[u8]) -> bool {
    iban_length(country).is_some()
}

/// NHS number, CHI number, Northern Irish H&C number: modulus 11, weights 10 to 2 (NHS Data Dictionary).
pub(crate) fn nhs(digits: &[u8]) -> bool {
    if digits.len() != 10 {
        return false;
    }
    let sum: u32 = digits[..9].iter().zip((2..=10).rev()).map(|(d, w)| u32::from(d - b'0') * w).sum();
    let check = (11 - sum % 11) % 11;
    check == u32::from(digits[9] - b'0') && digits.iter().any(|d| *d != digits[0])
}

/// Whether a number lies in a range from which NHS numbers are or were issued: England, Wales and the
/// Isle of Man 400-499 and 600-799 million, Northern Ireland 320-399 million, test numbers 900 million and up.
pub(crate) fn nhs_range(digits: &[u8]) -> bool {
    matches!(digits.first(), Some(b'4' | b'6' | b'7' | b'9'))
        || (digits.first() == Some(&b'3') && digits.get(1).is_some_and(|d| *d >= b'2'))
}

/// Unique taxpayer reference: first digit checks the other nine, modulus 11, weights 6 7 8 9 10 5 4 3 2.
pub(crate) fn utr(digits: &[u8]) -> bool {
    const CHECKS: &[u8; 11] = b"21987654321";
    const WEIGHTS: [u32; 9] = [6, 7, 8, 9, 10, 5, 4, 3, 2];
    if digits.len() != 10 {
        return false;
    }
    let sum: u32 = digits[1..].iter().zip(WEIGHTS).map(|(d, w)| u32::from(d - b'0') * w).sum();
    CHECKS[(sum % 11) as usize] == digits[0]
}

/// Prefix and suffix letters of a National Insurance number (HMRC manual NIM39110). `QQ` is the prefix
/// of documentation and is refused.
pub(crate) fn nino(prefix: [u8; 2], suffix: u8) -> bool {
    let [first, second] = [prefix[0].to_ascii_uppercase(), prefix[1].to_ascii_uppercase()];
    let never = b"DFIQUV";
    first.is_ascii_uppercase()
        && second.is_ascii_uppercase()
        && !never.contains(&first)
        && !never.contains(&second)
        && second != b'O'
        && !matches!(
            (first, second),
            (b'B', b'G') | (b'G', b'B') | (b'K' | b'T', b'N') | (b'N', b'K' | b'T') | (b'Z', b'Z')
        )
        && matches!(suffix.to_ascii_uppercase(), b'A'..=b'D')
}

/// Structure of a driving licence number of Great Britain: five of the surname (padded with 9), decade,
/// month (plus 50 for women), day, year, two initials, a digit, two letters (DVLA).
pub(crate) fn driving_licence(text: &[u8]) -> bool {
    if text.len() != 16 {
        return false;
    }
    let padded = text[..5].iter().skip_while(|b| b.is_ascii_alphabetic());
    let surname = text[0].is_ascii_alphabetic() && padded.clone().all(|b| *b == b'9');
    let digits = text[5..11].iter().all(u8::is_ascii_digit);
    if !surname || !digits {
        return false;
    }
    let (month, day) = (two(&text[6..8]), two(&text[8..10]));
    let initials = text[11].is_ascii_alphabetic() && (text[12].is_ascii_alphabetic() || text[12] == b'9');
    (1..=12).contains(&(month % 50))
        && month < 63
        && (1..=31).contains(&day)
        && initials
        && text[13].is_ascii_alphanumeric()
        && text[14..].iter().all(u8::is_ascii_alphabetic)
}

/// Structure of a UK postcode without its space (Royal Mail PAF guide): outward code of two to four,
/// inward code of a digit and two letters that are none of C I K M O V; a real area.
pub(crate) fn postcode(text: &[u8]) -> bool {
    let Some((outward, inward)) = text.len().checked_sub(3).map(|at| text.split_at(at)) else { return false };
    let inward = inward[0].is_ascii_digit()
        && inward[1..]
            .iter()
            .all(|b| b.is_ascii_alphabetic() && !b"CIKMOV".contains(&b.to_ascii_uppercase()));
    if outward.eq_ignore_ascii_case(b"GIR") {
        return inward && text[3..].eq_ignore_ascii_case(b"0AA");
    }
    let letters = outward.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    let district = &outward[letters..];
    let district_fits = match district {
        [d] => d.is_ascii_digit(),
        [d, last] => d.is_ascii_digit() && last.is_ascii_alphanumeric(),
        _ => false,
    };
    inward && district_fits && postcode_area(&outward[..letters])
}

fn postcode_area(area: &[u8]) -> bool {
    const ONE: &[u8] = b"BEGLMNSW";
    const TWO: &str = "AB AL BA BB BD BH BL BN BR BS BT CA CB CF CH CM CO CR CT CV CW DA DD DE DG DH DL DN DT DY \
                       EC EH EN EX FK FY GL GU GY HA HD HG HP HR HS HU HX IG IM IP IV JE KA KT KW KY LA LD LE LL \
                       LN LS LU ME MK ML NE NG NN NP NR NW OL OX PA PE PH PL PO PR RG RH RM SA SE SG SK SL SM SN \
                       SO SP SR SS ST SW SY TA TD TF TN TQ TR TS TW UB WA WC WD WF WN WR WS WV YO ZE BF BX";
    match area {
        [a] => ONE.contains(&a.to_ascii_uppercase()),
        [a, b] => {
            let want = [a.to_ascii_uppercase(), b.to_ascii_uppercase()];
            TWO.split_ascii_whitespace().any(|t| t.as_bytes() == want)
        }
        _ => false,
    }
}

/// Vehicle registration of Great Britain without its space (DVLA INF104): the current format (two letters,
/// two digits, three letters), prefix (letter, one to three digits, three letters), suffix (the reverse).
pub(crate) fn plate(text: &[u8]) -> bool {
    let mut kinds = [0; 8];
    if text.len() > kinds.len() {
        return false;
    }
    kinds.iter_mut().zip(text).for_each(|(k, b)| *k = if b.is_ascii_digit() { b'9' } else { b'A' });
    matches!(
        &kinds[..text.len()],
        b"AA99AAA" | b"A9AAA" | b"A99AAA" | b"A999AAA" | b"AAA9A" | b"AAA99A" | b"AAA999A"
    )
}

/// Areas, groups and serials that the Social Security Administration never issued are refused.
pub(crate) fn ssn(digits: &[u8]) -> bool {
    digits.len() == 9
        && &digits[..3] != b"000"
        && &digits[..3] != b"666"
        && digits[0] != b'9'
        && &digits[3..5] != b"00"
        && &digits[5..] != b"0000"
}

/// Whether day, month and year can be a date of birth.
pub(crate) fn birth_date(day: u32, month: u32, year: u32) -> bool {
    (1..=31).contains(&day) && (1..=12).contains(&month) && (1900..=2035).contains(&year)
}

/// Base58Check of a Bitcoin address is not computed: the shape (first letter, alphabet, length) is.
pub(crate) fn bitcoin(text: &[u8]) -> bool {
    let base58 = |b: &u8| b.is_ascii_alphanumeric() && !matches!(b, b'0' | b'O' | b'I' | b'l');
    let bech32 =
        |b: &u8| b.is_ascii_digit() || (b.is_ascii_lowercase() && !matches!(b, b'1' | b'b' | b'i' | b'o'));
    if !(14..=90).contains(&text.len()) {
        return false;
    }
    match text {
        [b'b', b'c', b'1', rest @ ..] => (11..=87).contains(&rest.len()) && rest.iter().all(bech32),
        [b'1' | b'3', ..] => {
            (26..=35).contains(&text.len())
                && text.iter().all(base58)
                && text.iter().any(u8::is_ascii_uppercase)
                && text.iter().any(u8::is_ascii_lowercase)
        }
        _ => false,
    }
}

pub(crate) fn two(text: &[u8]) -> u32 {
    u32::from(text[0] - b'0') * 10 + u32::from(text[1] - b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<'a>(fits: impl Fn(&'a [u8]) -> bool, yes: &[&'a str], no: &[&'a str]) {
        yes.iter().for_each(|t| assert!(fits(t.as_bytes()), "{t} is one"));
        no.iter().for_each(|t| assert!(!fits(t.as_bytes()), "{t} is none"));
    }

    #[test]
    fn card_numbers_pass_luhn() {
        check(
            luhn,
            &["4111111111111111", "378282246310005", "30569309025904"],
            &["4111111111111112", "", "1"],
        );
    }

    #[test]
    fn a_card_has_its_issuers_length() {
        let usual = |d: &[u8]| card_length(d) == CardLength::Usual;
        check(
            usual,
            &["4111111111111111", "378282246310005", "2221000000000009", "3530111333300000"],
            &["411111111111111", "1711111111111111", "7969662344008133"],
        );
        assert!(card_length(b"4222222222222") == CardLength::Rare);
        assert!(card_length(b"1763332418000000") == CardLength::None, "an epoch in microseconds");
    }

    #[test]
    fn ibans_pass_mod_97_and_have_their_countrys_length() {
        let yes =
            ["GB29NWBK60161331926819", "DE89370400440532013000", "NO9386011117947", "gb29nwbk60161331926819"];
        check(iban, &yes, &["GB29NWBK60161331926818", "GB29NWBK601613319268190", "GB2", ""]);
        assert!(iban_country(b"GB") && !iban_country(b"QX"));
    }

    #[test]
    fn nhs_numbers_pass_mod_11() {
        check(nhs, &["9434765919", "4010232137", "9876543210"], &["9434765918", "4444444444", "943476591"]);
        check(nhs_range, &["9434765919", "4010232137", "6000000000"], &["1795310607", "5000000000"]);
    }

    #[test]
    fn taxpayer_references_are_checked_by_their_first_digit() {
        check(utr, &["1123456789", "8431418219"], &["2123456789", "112345678"]);
    }

    #[test]
    fn nino_letters_follow_hmrc() {
        assert!(nino(*b"AB", b'C') && nino(*b"jh", b'd'));
        for prefix in [*b"BG", *b"GB", *b"NK", *b"KN", *b"TN", *b"NT", *b"ZZ", *b"DA", *b"AQ", *b"AO", *b"QQ"]
        {
            assert!(!nino(prefix, b'A'));
        }
        assert!(!nino(*b"AB", b'E'));
    }

    #[test]
    fn a_licence_number_holds_a_date() {
        check(
            driving_licence,
            &["MORGA657054SM9IJ", "FOX99701010A99AB", "WILLI509033SL6BA"],
            &["MORGA697054SM9IJ", "MORGA657994SM9IJ", "M0RGA657054SM9IJ", "MORGA657054SM9I"],
        );
    }

    #[test]
    fn postcodes_have_a_real_area() {
        check(
            postcode,
            &["SW1A1AA", "M11AE", "EC1A1BB", "GIR0AA", "n970dz"],
            &["P995MS", "QX11AA", "SW1A1AC", "SW1A", "1AA", ""],
        );
    }

    #[test]
    fn plates_have_a_format_of_their_time() {
        check(plate, &["AB12CDE", "A123BCD", "ABC1D"], &["AB1CDE", "ABC12DE", "1234ABC", "ABCDEFG", ""]);
    }

    #[test]
    fn ssns_that_were_never_issued_are_refused() {
        check(
            ssn,
            &["078051120", "002365196"],
            &["000123456", "666123456", "912345678", "123004567", "123450000"],
        );
    }

    #[test]
    fn bitcoin_addresses_have_their_alphabet() {
        check(
            bitcoin,
            &["1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"],
            &[
                "1A1zP1eP5QGefi2DMPTf0L5SLmv7DivfNa",
                "12345678901234567890123456",
                "2A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
            ],
        );
    }
}
