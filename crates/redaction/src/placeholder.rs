//! What stands in the place of a value: `{email}`, or with a key `{email:k1.` and a pseudonym `}`, or with the
//! part that may stay `{card:1111}`.
//!
//! Braces, because nothing that carries telemetry gives them a meaning inside a value: a URL, a JSON
//! string, an XML text and an SQL literal still parse, and a path reads like a route's template.

use std::collections::HashMap;

use crate::action::{PartOf, is_part};
use crate::pseudonym::{AT_ONCE, LETTERS, is_id};

/// What replaces a value that could not be looked at: too long, or not settled after several passes.
pub const UNSCANNED: &str = "{unscanned}";

/// The longest text between braces that may be a placeholder, in bytes: a rule's name, two pseudonyms.
const INSIDE_BYTES: usize = 104;

/// The words that may stand in a placeholder, and the part that may stay behind each.
#[derive(Debug)]
pub(crate) struct Placeholders {
    words: HashMap<String, Option<PartOf>, foldhash::fast::FixedState>,
}

impl Placeholders {
    /// Words with the parts that some policy lets stay.
    pub(crate) fn new(words: impl Iterator<Item = (String, Option<PartOf>)>) -> Placeholders {
        let mut all = HashMap::default();
        all.insert("unscanned".to_owned(), None);
        for (word, part) in words {
            let entry = all.entry(word).or_insert(None);
            *entry = entry.or(part);
        }
        Placeholders { words: all }
    }

    /// Where the placeholders of `text` begin and end, in order.
    pub(crate) fn find(&self, text: &[u8], spans: &mut Vec<(usize, usize)>) {
        spans.clear();
        for open in memchr::memchr_iter(b'{', text) {
            let inside = &text[open + 1..];
            let of_one = |b: &u8| {
                b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b':' | b'.' | b'-')
            };
            let close = inside.iter().take(INSIDE_BYTES).take_while(|b| of_one(b)).count();
            if close > 0 && inside.get(close) == Some(&b'}') && self.is_inside(&inside[..close]) {
                spans.push((open, open + close + 2));
            }
        }
    }

    /// Whether `text` is one placeholder.
    pub(crate) fn is_one(&self, text: &[u8]) -> bool {
        matches!(text, [b'{', inside @ .., b'}'] if self.is_inside(inside))
    }

    fn is_inside(&self, inside: &[u8]) -> bool {
        let Ok(inside) = std::str::from_utf8(inside) else { return false };
        let (word, rest) = inside.split_once(':').map_or((inside, None), |(w, p)| (w, Some(p)));
        let Some(part) = self.words.get(word) else { return false };
        rest.is_none_or(|rest| are_pseudonyms(rest) || part.is_some_and(|of| is_part(of, rest)))
    }
}

/// Whether a text is one pseudonym or two, each with its key's id.
fn are_pseudonyms(text: &str) -> bool {
    let pieces: Vec<&str> = text.split('.').collect();
    let base32 = |b: u8| b.is_ascii_lowercase() || matches!(b, b'2'..=b'7');
    let is_one = |pair: &[&str]| is_id(pair[0]) && pair[1].len() == LETTERS && pair[1].bytes().all(base32);
    pieces.len().is_multiple_of(2) && pieces.len() <= 2 * AT_ONCE && pieces.chunks(2).all(is_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_placeholders_are_taken_for_placeholders() {
        let words = [("email".to_owned(), None), ("card".to_owned(), Some(PartOf::Card))];
        let words = Placeholders::new(words.into_iter());
        let find = |text: &str| {
            let mut spans = Vec::new();
            words.find(text.as_bytes(), &mut spans);
            spans.iter().map(|(s, e)| text[*s..*e].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(find("a={email}&b={unscanned}"), ["{email}", "{unscanned}"]);
        let one = "{email:k1.abcdefghijklmnopqrst}";
        let two = "{email:k2.abcdefghijklmnopqrst.k1.abcdefghijklmnopqrst}";
        assert_eq!(find(&format!("{one}{two}")), [one, two]);
        assert_eq!(find("{card:1111} {card:11111} {email:1111}"), ["{card:1111}"]);
        assert!(find("{\"email\":1} {email:x} {other} {email").is_empty());
        assert!(find("{email:k1} {email:k1.abc} {email:.abcdefghijklmnopqrst}").is_empty());
    }
}
