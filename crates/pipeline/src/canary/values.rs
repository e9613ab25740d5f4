//! Made-up values of every kind that redaction must take, new in every canary.
//!
//! Every value is valid by its check digits and structure, and identifies nobody: mailboxes below
//! `example.org`, telephone numbers that Ofcom keeps for drama, NHS numbers from the range for tests, bank
//! and issuer codes that nobody has; the rest is drawn at random.

/// A value of a kind, as redaction calls it, and the attribute under which it is sent.
pub(super) struct Planted {
    pub(super) kind: &'static str,
    pub(super) key: &'static str,
    pub(super) value: String,
    /// The part that must not survive, where the value has a part that says nothing: a scheme, a name.
    pub(super) secret: String,
    /// Whether redaction knows it without its name, so that it is sent in running text as well.
    pub(super) proves_itself: bool,
}

/// Every kind, for the configuration to name those that are allowed to pass.
pub const KINDS: &[&str] = &[
    "email",
    "phone",
    "card",
    "iban",
    "nhs_number",
    "nino",
    "driving_licence",
    "us_ssn",
    "mac_address",
    "public_ip",
    "jwt",
    "bearer_token",
    "basic_credentials",
    "url_credentials",
    "aws_access_key",
    "private_key",
    "password",
    "secret",
    "token",
    "api_key",
    "session",
    "passport",
    "utr",
    "imei",
    "bank_account",
    "vehicle_plate",
    "postcode",
    "date_of_birth",
    "person_name",
    "street_address",
    "username",
    "national_id",
    "vat_number",
    "learner_number",
    "residence_permit",
    "meter_point",
    "location",
    "crypto_address",
    "card_code",
    "cookie",
    "authorization",
    "url_signature",
    "aws_secret_key",
    "github_token",
    "gitlab_token",
    "slack_token",
    "stripe_key",
    "google_key",
    "sendgrid_key",
    "npm_token",
    "pypi_token",
    "twilio_key",
    "llm_key",
    "vendor_token",
];

/// One value of every kind from a seed; the same seed gives the same values.
pub(super) fn planted(seed: u64) -> Vec<Planted> {
    let r = &mut Random(seed);
    let user = r.letters(10);
    let mut all = vec![
        itself("email", "user.contact", format!("{user}@{}.example.org", r.letters(8))),
        itself("phone", "note.call", format!("+447700900{}", r.digits(3))),
        itself("card", "note.pan", with_luhn(&format!("400000{}", r.digits(9)))),
        itself("iban", "note.transfer", iban(&format!("LAPW{}", r.digits(14)))),
        itself("nhs_number", "note.patient", nhs(r)),
        itself(
            "nino",
            "note.payroll",
            format!(
                "{}{}{}",
                r.one_of(&["AB", "JX", "LM", "PR"]),
                r.digits(6),
                r.one_of(&["A", "B", "C", "D"])
            ),
        ),
        itself("driving_licence", "note.licence", licence(r)),
        itself(
            "us_ssn",
            "note.ssn",
            format!("{}-{}-{}", r.between(100, 599), r.between(11, 98), r.between(1_000, 9_998)),
        ),
        itself("mac_address", "note.device", mac(r)),
        itself(
            "public_ip",
            "note.peer",
            format!("81.{}.{}.{}", r.between(100, 250), r.between(100, 250), r.between(100, 250)),
        ),
        itself("jwt", "note.jwt", jwt(r, &user)),
        itself(
            "aws_access_key",
            "note.aws",
            format!("AKIA{}", r.from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)),
        ),
        itself(
            "private_key",
            "note.pem",
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", r.token(64)),
        ),
        named("password", "user.password", r.token(20)),
        named("secret", "client_secret", r.token(32)),
        named("token", "access_token", r.token(32)),
        named("api_key", "x-api-key", r.token(32)),
        named("passport", "passport_number", format!("5{}", r.digits(8))),
        named("utr", "utr", utr(r)),
        named("imei", "imei", with_luhn(&format!("35{}", r.digits(12)))),
        named("bank_account", "account_number", format!("7{}", r.digits(7))),
        named(
            "vehicle_plate",
            "vrm",
            format!("KX{} {}", r.between(52, 74), r.from("ABCDEFGHJKLMNOPRSTUVWXY", 3)),
        ),
        named(
            "postcode",
            "postcode",
            format!("ZE{} {}{}", r.between(1, 3), r.between(1, 9), r.from("ABDEFGHJLNPQRSTUWXYZ", 2)),
        ),
        named(
            "date_of_birth",
            "date_of_birth",
            format!("19{}-{:02}-{}", r.between(40, 99), r.between(1, 12), r.between(10, 28)),
        ),
        named("person_name", "full_name", format!("{} {}", capital(&r.letters(7)), capital(&r.letters(9)))),
        named(
            "street_address",
            "address_line_1",
            format!("{} {} Street", r.between(100, 999), capital(&r.letters(8))),
        ),
        named("username", "username", format!("{}{}", r.letters(8), r.digits(2))),
    ];
    let token = r.token(32);
    all.push(Planted { value: format!("Bearer {token}"), ..itself("bearer_token", "note.header", token) });
    let basic = base64(format!("app:{}", r.token(16)).as_bytes());
    all.push(Planted {
        value: format!("Basic {basic}"),
        ..itself("basic_credentials", "note.basic", basic.trim_end_matches('=').to_owned())
    });
    let password = r.token(16);
    all.push(Planted {
        value: format!("postgres://app:{password}@db.canary:5432/x"),
        ..itself("url_credentials", "note.dsn", password)
    });
    all.push(named("session", "session.id", r.token(26)));
    let cookie = r.token(26);
    all.push(Planted {
        value: format!("remember={cookie}; theme=dark"),
        ..named("cookie", "cookie", cookie)
    });
    let credentials = r.token(32);
    all.push(Planted {
        value: format!("Negotiate {credentials}"),
        ..named("authorization", "http.request.header.authorization", credentials)
    });
    let signature = r.hex(64);
    all.push(Planted {
        value: format!("https://files.canary.example.org/x?X-Amz-Signature={signature}"),
        ..itself("url_signature", "note.link", signature)
    });
    // With its name: four digits alone stand in any text.
    all.push(itself("card_code", "note.payment", format!("cvv={}", r.digits(4))));
    all.extend(documents(r));
    all.extend(tokens(r));
    all
}

/// Numbers of documents, contracts and places, which need a name.
fn documents(r: &mut Random) -> Vec<Planted> {
    let dni = r.between(10_000_000, 99_999_999);
    let letter = &"TRWAGMYFPDXBNJZSQVHLCKE"[(dni % 23) as usize..][..1];
    let degrees =
        |r: &mut Random, low, high| format!("{}.{:06}", r.between(low, high), r.between(0, 999_999));
    vec![
        named("national_id", "dni", format!("{dni}{letter}")),
        named("vat_number", "vat_number", vat(r)),
        named("learner_number", "uln", learner(r)),
        named("residence_permit", "brp_number", format!("RE{}", r.digits(7))),
        named("meter_point", "mpan", meter_point(r)),
        named("location", "lat_lng", format!("{},-{}", degrees(r, 50, 58), degrees(r, 1, 5))),
    ]
}

/// Tokens that their providers mark with a prefix, and keys of clouds.
fn tokens(r: &mut Random) -> Vec<Planted> {
    vec![
        named("aws_secret_key", "aws_secret_access_key", r.token(40)),
        itself("github_token", "note.github", format!("ghp_{}", r.token(36))),
        itself("gitlab_token", "note.gitlab", format!("glpat-{}", r.token(20))),
        itself("slack_token", "note.chat", format!("xoxb-{}-{}-{}", r.digits(12), r.digits(12), r.token(24))),
        itself("stripe_key", "note.shop", format!("sk_live_{}", r.token(24))),
        itself("google_key", "note.maps", format!("AIza{}", r.token(35))),
        itself("sendgrid_key", "note.mail", format!("SG.{}.{}", r.token(22), r.token(43))),
        itself("npm_token", "note.npm", format!("npm_{}", r.token(36))),
        itself("pypi_token", "note.pypi", format!("pypi-AgEIcHlwaS5vcmc{}", r.token(64))),
        itself("twilio_key", "note.sms", format!("AC{}", r.hex(32))),
        itself("llm_key", "note.model", format!("sk-ant-{}", r.token(40))),
        itself("vendor_token", "note.vault", format!("hvs.{}", r.token(24))),
        itself("crypto_address", "note.wallet", format!("0x{}", r.hex(40))),
    ]
}

fn itself(kind: &'static str, key: &'static str, value: String) -> Planted {
    Planted { kind, key, secret: value.clone(), value, proves_itself: true }
}

fn named(kind: &'static str, key: &'static str, value: String) -> Planted {
    Planted { proves_itself: false, ..itself(kind, key, value) }
}

/// SplitMix64 (Steele, Lea, Flood 2014): good enough that no two canaries share a value, and repeatable.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    fn from(&mut self, alphabet: &str, length: usize) -> String {
        let letters = alphabet.as_bytes();
        (0..length).map(|_| char::from(letters[(self.next() % letters.len() as u64) as usize])).collect()
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[(self.next() % words.len() as u64) as usize]
    }

    /// Hexadecimal digits, with a letter and a digit among them.
    fn hex(&mut self, length: usize) -> String {
        format!("a7{}", self.from("0123456789abcdef", length - 2))
    }

    fn digits(&mut self, length: usize) -> String {
        self.from("0123456789", length)
    }

    fn letters(&mut self, length: usize) -> String {
        self.from("abcdefghijklmnopqrstuvwxyz", length)
    }

    /// Letters and digits that look drawn at random, with both in it.
    fn token(&mut self, length: usize) -> String {
        format!(
            "{}7q{}",
            self.from("ABCDEFGHJKLMNPQRSTUVWXYZ", 1),
            self.from("abcdefghijkmnpqrstuvwxyzABCDEFGH23456789", length - 3)
        )
    }
}

fn capital(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

/// Digits with the check digit of Luhn (ISO/IEC 7812-1, annex B) behind them.
fn with_luhn(digits: &str) -> String {
    let doubled = |(i, d): (usize, u8)| {
        let d = u32::from(d - b'0') * if i.is_multiple_of(2) { 2 } else { 1 };
        d / 10 + d % 10
    };
    let sum: u32 = digits.bytes().rev().enumerate().map(doubled).sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

/// An IBAN of Great Britain with its check digits (ISO 13616, ISO 7064 mod 97-10).
fn iban(account: &str) -> String {
    let rest = format!("{account}GB00").bytes().fold(0, |rest, b| match b {
        b'0'..=b'9' => (rest * 10 + u32::from(b - b'0')) % 97,
        _ => (rest * 100 + u32::from(b - b'A') + 10) % 97,
    });
    format!("GB{:02}{account}", 98 - rest)
}

/// Ten digits from the range for tests with a check digit (NHS Data Dictionary: modulus 11).
fn nhs(r: &mut Random) -> String {
    loop {
        let nine = format!("999{}", r.digits(6));
        let sum: u32 = nine.bytes().zip((2..=10).rev()).map(|(d, w)| u32::from(d - b'0') * w).sum();
        let check = (11 - sum % 11) % 11;
        if check < 10 {
            return format!("{} {} {}{check}", &nine[..3], &nine[3..6], &nine[6..]);
        }
    }
}

/// A taxpayer reference: the first digit checks the other nine (modulus 11).
fn utr(r: &mut Random) -> String {
    let nine = r.digits(9);
    let weights = [6, 7, 8, 9, 10, 5, 4, 3, 2];
    let sum: u32 = nine.bytes().zip(weights).map(|(d, w)| u32::from(d - b'0') * w).sum();
    format!("{}{nine}", &"21987654321"[(sum % 11) as usize..][..1])
}

/// A VAT registration of the United Kingdom: the weighted sum of seven digits and the last two make up 97.
fn vat(r: &mut Random) -> String {
    let seven = r.digits(7);
    let sum: u32 = seven.bytes().zip((2..=8).rev()).map(|(d, w)| u32::from(d - b'0') * w).sum();
    format!("GB{seven}{:02}", 97 - sum % 97)
}

/// A learner number: the last digit is ten minus the weighted sum modulo eleven, which is never zero.
fn learner(r: &mut Random) -> String {
    loop {
        let nine = format!("{}{}", r.between(1, 9), r.digits(8));
        let sum: u32 = nine.bytes().zip((2..=10).rev()).map(|(d, w)| u32::from(d - b'0') * w).sum();
        if !sum.is_multiple_of(11) {
            return format!("{nine}{}", 10 - sum % 11);
        }
    }
}

/// A meter point: the weighted sum of twelve digits modulo eleven is the last.
fn meter_point(r: &mut Random) -> String {
    let twelve = format!("{}{}", r.between(10, 23), r.digits(10));
    let weights = [3, 5, 7, 13, 17, 19, 23, 29, 31, 37, 41, 43];
    let sum: u32 = twelve.bytes().zip(weights).map(|(d, w)| u32::from(d - b'0') * w).sum();
    format!("{twelve}{}", sum % 11 % 10)
}

fn licence(r: &mut Random) -> String {
    let (decade, month, day) = (r.between(4, 9), r.between(1, 12), r.between(10, 28));
    format!(
        "{}{decade}{month:02}{day}{}{}{}",
        r.from("BCDFGHKLMR", 5),
        r.digits(1),
        r.from("ABCDEFGH", 2),
        r.from("23456789", 1)
    ) + &r.from("ABCDEFGH", 2)
}

fn mac(r: &mut Random) -> String {
    let bytes: Vec<String> = (0..5).map(|_| format!("{:02x}", r.between(16, 254))).collect();
    format!("30:{}", bytes.join(":"))
}

fn jwt(r: &mut Random, user: &str) -> String {
    let header = url_base64(br#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = url_base64(format!(r#"{{"sub":"{user}","email":"{user}@canary.example.org"}}"#).as_bytes());
    format!("{header}.{claims}.{}", r.token(43))
}

/// Base64 with padding (RFC 4648, section 4).
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        for i in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * i)) as usize & 63];
            text.push(if i <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

fn url_base64(bytes: &[u8]) -> String {
    base64(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

/// Every byte that is no letter or digit as `%40` (RFC 3986).
pub(super) fn percent(text: &str) -> String {
    let of = |b: u8| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(of).collect()
}

#[cfg(test)]
mod tests {
    use lapwing_redaction::{BUILTINS, Redactor, Rules};
    use std::sync::Arc;

    use super::*;

    #[test]
    fn every_kind_is_planted_once_and_a_seed_repeats() {
        let mut kinds: Vec<_> = planted(7).iter().map(|p| p.kind).collect();
        let mut all = KINDS.to_vec();
        kinds.sort_unstable();
        all.sort_unstable();
        assert_eq!(kinds, all);
        let values = |seed| planted(seed).into_iter().map(|p| p.value).collect::<Vec<_>>();
        assert_eq!(values(7), values(7));
        assert!(values(7).iter().zip(values(8)).all(|(a, b)| *a != b));
    }

    #[test]
    fn every_built_in_rule_has_a_canary_that_it_takes() {
        let rules = Arc::new(Rules::builtin());
        let names: std::collections::BTreeSet<&str> = BUILTINS.iter().map(|rule| rule.name).collect();
        // Addresses of private networks are topology: they stay unless an operator says otherwise.
        let planted_kinds = KINDS.iter().copied().chain(["private_ip"]).collect();
        assert_eq!(names, planted_kinds, "plant a value of every kind in `planted`");
        for p in (0..20).flat_map(planted) {
            let mut redactor = Redactor::new(rules.clone());
            redactor.redact_text(Some(p.key), &p.value);
            assert!(redactor.counts().contains_key(p.kind), "{} is taken as {:?}", p.kind, redactor.counts());
        }
    }

    /// If this fails after a change of rules, redaction has become blind for a kind, or the value is not one.
    #[test]
    fn the_built_in_rules_take_every_value_of_a_thousand_canaries() {
        let mut redactor = Redactor::new(Arc::new(Rules::builtin()));
        let mut missed = std::collections::BTreeMap::new();
        for seed in 0..1_000 {
            for p in planted(seed) {
                let mut texts = vec![(Some(p.key), p.value.clone())];
                if p.proves_itself {
                    texts.push((Some("note"), format!("seen {} now", p.value)));
                }
                for (key, text) in texts {
                    if redactor.redact_text(key, &text).contains(&p.secret) {
                        *missed.entry((p.kind, text.starts_with("seen"))).or_insert(0) += 1;
                    }
                }
            }
        }
        assert!(missed.is_empty(), "{missed:?}");
    }

    #[test]
    fn encodings_are_those_of_their_standards() {
        assert_eq!(
            (base64(b"f"), base64(b"fo"), base64(b"foo")),
            ("Zg==".into(), "Zm8=".into(), "Zm9v".into())
        );
        assert_eq!(percent("a@b.c"), "a%40b%2Ec");
        assert_eq!(with_luhn("411111111111111"), "4111111111111111");
        assert_eq!(iban("NWBK60161331926819"), "GB29NWBK60161331926819");
    }
}
