//! Numbers by which states know a person: their forms and check digits. All letters are capitals, and nothing stands
//! between letters and digits.
//!
//! Sources are the issuing authorities' own descriptions. One digit in ten or eleven, or one letter in 23, checks the
//! rest: by itself that proves little, so all but the Italian code need a word that speaks for them.

use crate::checks::luhn;

/// Whether this is a number of a person in any of the countries below.
pub(crate) fn any(text: &[u8]) -> bool {
    let numbers: &[fn(&[u8]) -> bool] = &[
        german_tax_id,
        french_nir,
        spanish_dni,
        dutch_bsn,
        belgian_number,
        polish_pesel,
        italian_code,
        irish_pps,
        swedish_number,
        finnish_hetu,
        norwegian_number,
        swiss_ahv,
        portuguese_nif,
        us_itin,
    ];
    numbers.iter().any(|fits| fits(text))
}

/// Digits of a text that has nothing else.
fn digits<const N: usize>(text: &[u8]) -> Option<[u32; N]> {
    let text: &[u8; N] = text.try_into().ok()?;
    text.iter().all(u8::is_ascii_digit).then(|| text.map(|b| u32::from(b - b'0')))
}

fn weighted(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(d, w)| d * w).sum()
}

fn value(digits: &[u32]) -> u64 {
    digits.iter().fold(0, |v, d| v * 10 + u64::from(*d))
}

/// Steuerliche Identifikationsnummer: eleven digits, ISO 7064 mod 11,10.
fn german_tax_id(text: &[u8]) -> bool {
    let Some(d) = digits::<11>(text) else { return false };
    let product = d[..10].iter().fold(10, |product, digit| {
        let sum = (digit + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    d[0] != 0 && (11 - product) % 10 == d[10]
}

/// Numéro d'inscription au répertoire: sex, year, month, place, order, and 97 minus the rest by 97.
fn french_nir(text: &[u8]) -> bool {
    // The two departments of Corsica have letters and count as 19 and 18.
    let mut plain: Vec<u8> = text.to_vec();
    match text.get(5..7) {
        Some(b"2A") => plain[5..7].copy_from_slice(b"19"),
        Some(b"2B") => plain[5..7].copy_from_slice(b"18"),
        _ => {}
    }
    let Some(d) = digits::<15>(&plain) else { return false };
    matches!(d[0], 1..=4 | 7 | 8) && d[3] * 10 + d[4] != 0 && 97 - value(&d[..13]) % 97 == value(&d[13..])
}

/// Documento nacional de identidad and its form for foreigners: the letter is the rest by 23.
fn spanish_dni(text: &[u8]) -> bool {
    let [body @ .., letter] = text else { return false };
    let mut body = body.to_vec();
    if let Some(first @ b'X'..=b'Z') = body.first_mut() {
        *first = *first - b'X' + b'0';
    }
    digits::<8>(&body).is_some_and(|d| b"TRWAGMYFPDXBNJZSQVHLCKE"[(value(&d) % 23) as usize] == *letter)
}

/// Burgerservicenummer: nine digits, the weighted sum divides by eleven.
fn dutch_bsn(text: &[u8]) -> bool {
    let fits = |d: [u32; 9]| (weighted(&d[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) + 10 * d[8]).is_multiple_of(11);
    digits::<9>(text).is_some_and(|d| value(&d) > 0 && fits(d))
}

/// Rijksregisternummer: birth date, order, and 97 minus the rest by 97; a 2 goes before for those born since 2000.
fn belgian_number(text: &[u8]) -> bool {
    let Some(d) = digits::<11>(text) else { return false };
    let (body, check) = (value(&d[..9]), value(&d[9..]));
    d[2] * 10 + d[3] <= 12 && (97 - body % 97 == check || 97 - (2_000_000_000 + body) % 97 == check)
}

/// PESEL: birth date, order, and a digit that completes the weighted sum to tens.
fn polish_pesel(text: &[u8]) -> bool {
    let fits =
        |d: [u32; 11]| (weighted(&d[..10], &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) + d[10]).is_multiple_of(10);
    digits::<11>(text).is_some_and(|d| value(&d) > 0 && (d[4] * 10 + d[5]) <= 31 && fits(d))
}

/// Codice fiscale: six letters of the names, birth date, place, and a letter that checks the rest.
pub(crate) fn italian_code(text: &[u8]) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let form = b"AAAAAA99A99A999A";
    let fits = |(byte, form): (&u8, &u8)| match form {
        b'A' => byte.is_ascii_uppercase(),
        _ => byte.is_ascii_digit(),
    };
    if text.len() != form.len() || !text.iter().zip(form).all(fits) || !b"ABCDEHLMPRST".contains(&text[8]) {
        return false;
    }
    let place = |b: u8| u32::from(if b.is_ascii_digit() { b - b'0' } else { b - b'A' });
    let sum: u32 = text[..15]
        .iter()
        .enumerate()
        .map(|(i, b)| if i.is_multiple_of(2) { ODD[place(*b) as usize] } else { place(*b) })
        .sum();
    sum % 26 == u32::from(text[15] - b'A')
}

/// Personal public service number: seven digits, a letter that checks them, perhaps a second letter.
fn irish_pps(text: &[u8]) -> bool {
    let (Some(body), Some(check)) = (text.get(..7), text.get(7)) else { return false };
    let second = match &text[8..] {
        [] => 0,
        [letter @ b'A'..=b'W'] => u32::from(letter - b'A') + 1,
        _ => return false,
    };
    let sum = digits::<7>(body).map(|d| weighted(&d, &[8, 7, 6, 5, 4, 3, 2]) + 9 * (second % 23));
    sum.is_some_and(|sum| b"WABCDEFGHIJKLMNOPQRSTUV"[(sum % 23) as usize] == *check)
}

/// Personnummer: birth date and four digits of which Luhn's check is the last, with or without the century.
fn swedish_number(text: &[u8]) -> bool {
    let short = match text.len() {
        12 if text.starts_with(b"19") || text.starts_with(b"20") => &text[2..],
        _ => text,
    };
    digits::<10>(short).is_some_and(|d| {
        (1..=12).contains(&(d[2] * 10 + d[3])) && (1..=91).contains(&(d[4] * 10 + d[5])) && luhn(short)
    })
}

/// Henkilötunnus: birth date, century, order, and a character that is the rest by 31.
fn finnish_hetu(text: &[u8]) -> bool {
    let (birth, rest) = match (text.get(..6), text.len()) {
        (Some(birth), 10) => (birth, &text[6..]),
        (Some(birth), 11) if text[6].is_ascii_uppercase() => (birth, &text[7..]),
        _ => return false,
    };
    let number = digits::<9>(&[birth, &rest[..3]].concat());
    number.is_some_and(|d| b"0123456789ABCDEFHJKLMNPRSTUVWXY"[(value(&d) % 31) as usize] == rest[3])
}

/// Fødselsnummer: birth date, order, and two digits modulo eleven.
fn norwegian_number(text: &[u8]) -> bool {
    digits::<11>(text).is_some_and(|d| {
        let check = |digits: &[u32], weights: &[u32]| (11 - weighted(digits, weights) % 11) % 11;
        value(&d) > 0
            && check(&d[..9], &[3, 7, 6, 1, 8, 9, 4, 5, 2]) == d[9]
            && check(&d[..10], &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) == d[10]
    })
}

/// AHV number: 756 and the check digit of an EAN-13.
fn swiss_ahv(text: &[u8]) -> bool {
    let weights = [1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1];
    digits::<13>(text).is_some_and(|d| d[..3] == [7, 5, 6] && weighted(&d, &weights).is_multiple_of(10))
}

/// Número de identificação fiscal: nine digits modulo eleven.
fn portuguese_nif(text: &[u8]) -> bool {
    digits::<9>(text).is_some_and(|d| {
        let rest = weighted(&d[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
        matches!(d[0], 1..=3 | 5 | 6 | 8 | 9) && d[8] == if rest < 2 { 0 } else { 11 - rest }
    })
}

/// Individual taxpayer number of the Internal Revenue Service: begins with 9, and its fourth and fifth digit lie in
/// the ranges that were issued.
fn us_itin(text: &[u8]) -> bool {
    digits::<9>(text)
        .is_some_and(|d| d[0] == 9 && matches!(d[3] * 10 + d[4], 50..=65 | 70..=88 | 90..=92 | 94..=99))
}

/// VAT registration of the United Kingdom, without `GB`: nine digits modulo 97, with 55 added in newer ones, and three
/// more for a branch.
pub(crate) fn uk_vat(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"GB").unwrap_or(text);
    let nine = if text.len() == 12 && text[9..].iter().all(u8::is_ascii_digit) { &text[..9] } else { text };
    digits::<9>(nine).is_some_and(|d| {
        let sum = weighted(&d[..7], &[8, 7, 6, 5, 4, 3, 2]) + d[7] * 10 + d[8];
        value(&d) > 0 && (sum.is_multiple_of(97) || (sum + 55).is_multiple_of(97))
    })
}

/// Unique pupil number (Department for Education): a letter that is the rest by 23, and twelve digits, of which the
/// last may be a letter while the number is temporary.
pub(crate) fn pupil(text: &[u8]) -> bool {
    const LETTERS: &[u8; 23] = b"ABCDEFGHJKLMNPQRTUVWXYZ";
    let [check, body @ .., last] = text else { return false };
    let Some(body) = digits::<11>(body) else { return false };
    let last = match last {
        b'0'..=b'9' => u32::from(last - b'0'),
        letter => match LETTERS.iter().position(|l| l == letter) {
            Some(place) => place as u32,
            None => return false,
        },
    };
    let sum = weighted(&body, &[2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]) + 13 * last;
    LETTERS[(sum % 23) as usize] == *check
}

/// Unique learner number (Learning Records Service): ten digits, the last ten minus the rest by eleven.
pub(crate) fn learner(text: &[u8]) -> bool {
    digits::<10>(text).is_some_and(|d| {
        let rest = weighted(&d[..9], &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
        d[0] != 0 && rest != 0 && 10 - rest == d[9]
    })
}

/// Meter point administration number: thirteen digits, the last of them a weighted sum modulo eleven; eight more
/// digits of profile may stand before.
pub(crate) fn meter_point(text: &[u8]) -> bool {
    let core = if text.len() == 21 { &text[8..] } else { text };
    digits::<13>(core).is_some_and(|d| {
        let sum = weighted(&d[..12], &[3, 5, 7, 13, 17, 19, 23, 29, 31, 37, 41, 43]);
        value(&d) > 0 && sum % 11 % 10 == d[12]
    })
}

/// The second line of a passport's machine-readable zone (ICAO Doc 9303, part 4), up to its third check digit.
pub(crate) fn passport_zone(text: &[u8]) -> bool {
    let check = |part: &[u8], digit: u8| {
        let place = |b: &u8| match b {
            b'0'..=b'9' => u32::from(b - b'0'),
            b'A'..=b'Z' => u32::from(b - b'A') + 10,
            _ => 0,
        };
        let sum: u32 =
            part.iter().zip([7, 3, 1].into_iter().cycle()).map(|(b, weight)| place(b) * weight).sum();
        digit.is_ascii_digit() && sum % 10 == u32::from(digit - b'0')
    };
    text.len() >= 28
        && text[..28].iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'<')
        && text[13..19].iter().chain(&text[21..27]).all(u8::is_ascii_digit)
        && matches!(text[20], b'M' | b'F' | b'X' | b'<')
        && check(&text[..9], text[9])
        && check(&text[13..19], text[19])
        && check(&text[21..27], text[27])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fits: fn(&[u8]) -> bool, yes: &[&str]) {
        for text in yes {
            assert!(fits(text.as_bytes()), "{text} is one");
            // Every check notices one changed digit.
            let at = text.rfind(|c: char| c.is_ascii_digit()).unwrap();
            let mut other = text.as_bytes().to_vec();
            other[at] = b'0' + (other[at] - b'0' + 1) % 10;
            assert!(!fits(&other), "{} is none", String::from_utf8_lossy(&other));
        }
        assert!(!fits(b"") && !fits(b"X") && !fits(b"ABCDEFGHIJKLMNOP") && !fits(&[0xff; 13]));
    }

    #[test]
    fn numbers_of_europe_have_their_check_digits() {
        check(german_tax_id, &["65929970489", "47036892816"]);
        check(french_nir, &["255081416802538", "283209921625930"]);
        check(spanish_dni, &["12345678Z", "X1234567L"]);
        check(dutch_bsn, &["111222333", "123456782"]);
        check(belgian_number, &["85073003328", "17073003384"]);
        check(polish_pesel, &["44051401359"]);
        check(italian_code, &["RSSMRA85T10A562S"]);
        check(irish_pps, &["1234567T", "1234567FA"]);
        check(swedish_number, &["8112289874", "198112289874"]);
        check(finnish_hetu, &["131052308T", "131052A308T"]);
        check(swiss_ahv, &["7569217076985"]);
        check(portuguese_nif, &["123456789"]);
    }

    #[test]
    fn numbers_of_the_united_kingdom_have_theirs() {
        check(uk_vat, &["GB980780684", "980780684"]);
        check(pupil, &["H801200001001"]);
        check(learner, &["1000000000"]);
        check(meter_point, &["2034567890120"]);
    }

    #[test]
    fn a_passports_second_line_has_three_check_digits() {
        let line = b"L898902C36UTO7408122F1204159ZE184226B<<<<<10";
        assert!(passport_zone(line));
        for changed in [1, 9, 14, 19, 22, 27] {
            let mut other = *line;
            other[changed] = if other[changed] == b'1' { b'2' } else { b'1' };
            assert!(!passport_zone(&other), "{changed}");
        }
    }
}
