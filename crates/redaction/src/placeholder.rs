//! What stands in the place of a value: `{email}`, or with a key `{email:k1.` and a pseudonym `}`.
//!
//! Braces, because nothing that carries telemetry gives them a meaning inside a value: a URL, a JSON
//! string, an XML text and an SQL literal still parse, and a path reads like a route's template.

use std::collections::HashSet;

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// A key for pseudonyms: equal values get equal pseudonyms under one key, others under another.
#[derive(Clone)]
pub struct PseudonymKey {
    id: String,
    key: Vec<u8>,
}

impl std::fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PseudonymKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// Choose one to eight small letters and digits, beginning with a letter.
    #[error("the key's id is not 1 to 8 small letters and digits beginning with a letter, for example `k1`")]
    Id,
    /// Give a longer key, for example from `openssl rand 32`.
    #[error("the key is shorter than 32 bytes, so pseudonyms could be found by trying keys")]
    TooShort,
}

/// Bytes a key must have at least: what HMAC-SHA-256 can use (RFC 2104, section 3).
const KEY_BYTES: usize = 32;
/// Letters of a pseudonym: 100 bits in base32, so that two of 2^40 values collide with odds of one in a million.
const LETTERS: usize = 20;

impl PseudonymKey {
    /// Makes a key; `id` stands in every pseudonym, so that keys can be told apart after rotation.
    pub fn new(id: &str, key: &[u8]) -> Result<PseudonymKey, KeyProblem> {
        let letters = id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !(1..=8).contains(&id.len()) || !letters || !id.as_bytes()[0].is_ascii_lowercase() {
            return Err(KeyProblem::Id);
        }
        if key.len() < KEY_BYTES {
            return Err(KeyProblem::TooShort);
        }
        Ok(PseudonymKey { id: id.to_owned(), key: key.to_vec() })
    }

    /// Appends the pseudonym of `value` to `out`. Equal values of different kinds get different ones.
    pub(crate) fn write(&self, kind: &str, value: &str, out: &mut String) {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of every length");
        mac.update(kind.as_bytes());
        mac.update(&[0]);
        mac.update(value.as_bytes());
        let digest = mac.finalize().into_bytes();
        out.push_str(&self.id);
        out.push('.');
        let (mut bits, mut held, mut bytes) = (0u32, 0, digest.iter());
        for _ in 0..LETTERS {
            if held < 5 {
                bits = bits << 8 | u32::from(*bytes.next().expect("20 letters need 13 of 32 bytes"));
                held += 8;
            }
            held -= 5;
            out.push(char::from(ALPHABET[(bits >> held) as usize & 31]));
        }
    }
}

/// What replaces a value that could not be looked at: too long, or not settled after several passes.
pub const UNSCANNED: &str = "{unscanned}";

/// The words that may stand in a placeholder.
#[derive(Debug)]
pub(crate) struct Placeholders {
    words: HashSet<String>,
}

impl Placeholders {
    pub(crate) fn new(words: impl Iterator<Item = String>) -> Placeholders {
        Placeholders { words: words.chain(["unscanned".to_owned()]).collect() }
    }

    /// Where the placeholders of `text` begin and end, in order.
    pub(crate) fn find(&self, text: &[u8], spans: &mut Vec<(usize, usize)>) {
        spans.clear();
        for open in memchr::memchr_iter(b'{', text) {
            let inside = &text[open + 1..];
            let of_one =
                |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b':' | b'.');
            let close = inside.iter().take(80).take_while(|b| of_one(b)).count();
            if close > 0 && inside.get(close) == Some(&b'}') && self.is_one(&inside[..close]) {
                spans.push((open, open + close + 2));
            }
        }
    }

    fn is_one(&self, inside: &[u8]) -> bool {
        let Ok(inside) = std::str::from_utf8(inside) else { return false };
        let (word, pseudonym) = inside.split_once(':').map_or((inside, None), |(w, p)| (w, Some(p)));
        let fits = pseudonym.is_none_or(|p| {
            p.split_once('.').is_some_and(|(id, letters)| {
                let base32 = |b: u8| b.is_ascii_lowercase() || matches!(b, b'2'..=b'7');
                (1..=8).contains(&id.len())
                    && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                    && letters.len() == LETTERS
                    && letters.bytes().all(base32)
            })
        });
        fits && self.words.contains(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_an_id_and_enough_bytes() {
        assert_eq!(PseudonymKey::new("K1", &[0; 32]).unwrap_err(), KeyProblem::Id);
        assert_eq!(PseudonymKey::new("", &[0; 32]).unwrap_err(), KeyProblem::Id);
        assert_eq!(PseudonymKey::new("k1", &[0; 31]).unwrap_err(), KeyProblem::TooShort);
        let key = PseudonymKey::new("k1", &[7; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "PseudonymKey { id: \"k1\", .. }", "the key itself is not shown");
    }

    #[test]
    fn pseudonyms_depend_on_key_kind_and_value_alone() {
        let pseudonym = |key: u8, kind, value| {
            let mut out = String::new();
            PseudonymKey::new("k1", &[key; 32]).unwrap().write(kind, value, &mut out);
            out
        };
        let one = pseudonym(1, "email", "a@example.org");
        assert_eq!(
            one, "k1.fvytodsgucrulk3eq3z6",
            "a changed pseudonym breaks every join with what is stored"
        );
        assert_eq!(one, pseudonym(1, "email", "a@example.org"));
        assert_ne!(one, pseudonym(2, "email", "a@example.org"));
        assert_ne!(one, pseudonym(1, "email", "b@example.org"));
        assert_ne!(one, pseudonym(1, "phone", "a@example.org"));
    }

    #[test]
    fn only_placeholders_are_taken_for_placeholders() {
        let words = Placeholders::new(["email".to_owned()].into_iter());
        let find = |text: &str| {
            let mut spans = Vec::new();
            words.find(text.as_bytes(), &mut spans);
            spans.iter().map(|(s, e)| text[*s..*e].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(find("a={email}&b={unscanned}"), ["{email}", "{unscanned}"]);
        assert_eq!(find("{email:k1.abcdefghijklmnopqrst}"), ["{email:k1.abcdefghijklmnopqrst}"]);
        assert!(find("{\"email\":1} {email:x} {other} {email").is_empty());
    }
}
