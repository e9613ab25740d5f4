//! What looks like a value of a kind and is not claimed, and why not where that can be told.

use std::sync::Arc;

use crate::builtin::BUILTINS;
use crate::checks::{self, CardLength};
use crate::context::Found;
use crate::explain::{Asking, NearMiss, shape};
use crate::file::{ActionWord, IpFile, RuleFile};
use crate::rules::Rules;
use crate::scan::Field;

/// Near misses that are told of one text at most.
const MOST: usize = 32;

/// Rules that need a word beside a value, and a name under which each believes it.
const SPOKEN_FOR: &[(&str, &str)] = &[
    ("card", "card_number"),
    ("nhs_number", "nhs_number"),
    ("utr", "utr"),
    ("us_ssn", "ssn"),
    ("imei", "imei"),
    ("phone", "phone"),
    ("passport", "passport_number"),
    ("driving_licence", "driving_licence"),
    ("vehicle_plate", "vrm"),
    ("postcode", "postcode"),
    ("date_of_birth", "dob"),
    ("bank_account", "account_number"),
];

/// Finds near misses outside of `claimed`.
pub(crate) fn find(asking: &mut Asking<'_>, field: Field, text: &str, claimed: &[Found]) -> Vec<NearMiss> {
    let mut misses = Vec::new();
    let free = |start: usize, end: usize| !claimed.iter().any(|f| f.start < end && start < f.end);
    for f in asking.unspared(text, field).iter().filter(|f| free(f.start, f.end)) {
        let rule = asking.rules.rule_name(f.rule);
        misses.push(miss(text, &rule, f.start, f.end, "the allow-list of a rule file spares it"));
    }
    for f in switched_off(asking, text, field).iter().filter(|f| free(f.start, f.end)) {
        let rule = asking.rules.rule_name(f.rule);
        misses.push(miss(text, &rule, f.start, f.end, "the rule is switched off"));
    }
    let told: Vec<(usize, usize)> = misses.iter().map(|m| (m.start, m.end)).collect();
    for (start, end) in candidates(text) {
        if misses.len() < MOST && free(start, end) && !told.iter().any(|t| t.0 < end && start < t.1) {
            judge(asking, text, start, end, &mut misses);
        }
    }
    misses.sort_by_key(|m| m.start);
    misses
}

/// What the built-in rules would claim if none were switched off.
fn switched_off(asking: &Asking<'_>, text: &str, field: Field) -> Vec<Found> {
    let disabled = asking.scope.disabled;
    let every = RuleFile {
        version: 1,
        ip: IpFile { private: Some(ActionWord::Replace), ..IpFile::default() },
        ..RuleFile::default()
    };
    let Ok(every) = Rules::compile(&[every], None) else { return Vec::new() };
    let [scope, ..] = every.scopes((None, None), 0);
    let found = Asking::new(&every, Arc::new(scope)).unspared(text, field);
    let is_off = |f: &Found| usize::from(f.rule) < BUILTINS.len() && disabled & 1 << f.rule != 0;
    found.into_iter().filter(is_off).collect()
}

fn judge(asking: &mut Asking<'_>, text: &str, start: usize, end: usize, misses: &mut Vec<NearMiss>) {
    let value = &text[start..end];
    let letters: Vec<u8> = value.bytes().filter(u8::is_ascii_alphanumeric).collect();
    let digits = letters.iter().filter(|b| b.is_ascii_digit()).count();
    let mut say = |rule: &str, because: &str| misses.push(miss(text, rule, start, end, because));
    if digits == letters.len() {
        if (13..=19).contains(&digits) {
            return say("card", card(&letters));
        }
        if digits == 10 && !checks::nhs(&letters) && !checks::utr(&letters) && letters[0] != b'0' {
            say("nhs_number", "the check digit (modulus 11) does not fit");
        }
    } else if is_nino(&letters) && !checks::nino([letters[0], letters[1]], letters[8]) {
        say("nino", "its prefix or suffix letters are never given out");
    } else if is_iban(&letters) && !checks::iban(&letters) {
        let known = checks::iban_country(&letters[..2]);
        let wrong = "check digits (modulus 97) or the country's length do not fit";
        say("iban", if known { wrong } else { "no country of this code has IBANs" });
    }
    for (rule, key) in SPOKEN_FOR {
        let Some(id) = asking.rules.names().position(|n| n == *rule) else { continue };
        let scope = asking.scope.clone();
        let (_, field) = asking.rules.fields.judge(key, &asking.rules.scanner.keys, |rule| scope.is_on(rule));
        let believed = |f: &Found| usize::from(f.rule) == id && f.start == 0 && f.end == value.len();
        if asking.claimed(value, field).iter().any(believed) {
            let because = format!("its form would do, but no name or word such as `{key}` stands before it");
            misses.push(miss(text, rule, start, end, &because));
        }
    }
}

fn card(digits: &[u8]) -> &'static str {
    match checks::card_length(digits) {
        _ if !checks::luhn(digits) => "Luhn's check digit does not fit",
        CardLength::None => "no issuer has numbers of this prefix and length",
        CardLength::Rare => {
            "its issuer or length is rare: a name or word such as `card_number` must stand before it"
        }
        CardLength::Usual => {
            "the check digit fits, but it is part of something longer, grouped as no issuer does, or labelled as technical"
        }
    }
}

fn is_nino(letters: &[u8]) -> bool {
    letters.len() == 9
        && letters[..2].iter().all(u8::is_ascii_alphabetic)
        && letters[2..8].iter().all(u8::is_ascii_digit)
        && letters[8].is_ascii_alphabetic()
}

fn is_iban(letters: &[u8]) -> bool {
    (15..=34).contains(&letters.len())
        && letters[..2].iter().all(u8::is_ascii_uppercase)
        && letters[2..4].iter().all(u8::is_ascii_digit)
        && letters[4..].iter().filter(|b| b.is_ascii_digit()).count() >= 8
}

/// Runs of letters and digits, or groups of them with one space or dash between, that hold enough digits to be
/// something.
fn candidates(text: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let of_group = |b: u8| b.is_ascii_digit() || b.is_ascii_uppercase();
    let (mut candidates, mut i) = (Vec::new(), 0);
    while i < bytes.len() {
        let start = i;
        let mut end = i + bytes[i..].iter().take_while(|b| b.is_ascii_alphanumeric()).count();
        i = end.max(i + 1);
        let lower = |range: std::ops::Range<usize>| bytes[range].iter().any(u8::is_ascii_lowercase);
        if end == start || start > 0 && bytes[start - 1] >= 0x80 {
            continue;
        }
        // Groups go on while they are capitals and digits: lower-case words end a number.
        while !lower(start..end)
            && matches!(bytes.get(end), Some(b' ' | b'-' | b'/'))
            && bytes.get(end + 1).is_some_and(|b| of_group(*b))
            && end - start < 40
        {
            let group = bytes[end + 1..].iter().take_while(|b| b.is_ascii_alphanumeric()).count();
            if lower(end + 1..end + 1 + group) {
                break;
            }
            end += 1 + group;
        }
        i = i.max(end);
        let digits = bytes[start..end].iter().filter(|b| b.is_ascii_digit()).count();
        let is_hex =
            end - start >= 32 && bytes[start..end].iter().all(|b| b.is_ascii_hexdigit() || *b == b'-');
        if digits >= 3 && (5..=40).contains(&(end - start)) && !is_hex {
            candidates.push((start, end));
        }
    }
    candidates
}

fn miss(text: &str, rule: &str, start: usize, end: usize, because: &str) -> NearMiss {
    let shape = shape(&text[start..end]);
    NearMiss { rule: rule.to_owned(), start, end, shape, because: because.to_owned() }
}
