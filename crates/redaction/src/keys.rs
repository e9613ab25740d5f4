//! What the name of a field says about its value.
//!
//! Names come in every spelling (`nationalInsuranceNumber`, `ni_number`, `x-nhs-number`, `user.email`), so
//! a name is folded to lower-case words, and what decides is the longest phrase it ends with.

use std::collections::{BTreeMap, HashMap};

use crate::builtin::RuleSet;
use crate::phrases::PHRASES;

/// What a value must look like for a rule to take it from a field of the right name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Anything that is not plainly a word about the field ("missing", `null`).
    Any,
    /// Only what looks drawn at random: the name says little (`key`).
    Random,
    /// Credentials after a scheme name, or anything at all.
    Authorization,
    /// Several `name=value`, looked at one by one in text, replaced whole as an attribute.
    Cookie,
    /// What the rule of this number recognises by itself.
    Ruled,
    /// A person's name: the field is called so.
    Name,
    /// A person's name after a title: `Dr Example`.
    Title,
    /// A person's name: the field is only called `name`, so two capitalised words in a URL's query.
    BareName,
}

/// What a field's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) rule: u16,
    pub(crate) shape: Shape,
    /// Whether the phrase must be all of the name, or all after its last dot.
    whole: bool,
}

impl Meaning {
    /// What names of a rule file mean.
    pub(crate) fn of_file(rule: u16) -> Meaning {
        Meaning { rule, shape: Shape::Any, whole: false }
    }

    pub(crate) fn is_built_in(self) -> bool {
        usize::from(self.rule) < crate::builtin::BUILTINS.len()
    }
}

/// Phrases and what they mean, and the words by which text is searched for them.
pub(crate) struct Keys {
    phrases: HashMap<Box<[u8]>, Option<Meaning>, foldhash::fast::FixedState>,
    /// Words that the longest phrase has.
    most_words: usize,
    /// Words of names from rule files.
    stems: Vec<String>,
}

/// A name longer than this is judged by its end.
pub(crate) const NAME_BYTES: usize = 64;
const MAX_WORDS: usize = 16;
/// Words that the longest phrase of the table has.
const MOST_WORDS: usize = 4;

impl Keys {
    /// The phrases of the built-in rules that are not in `disabled`.
    pub(crate) fn builtin(disabled: RuleSet) -> Keys {
        let mut keys = Keys { phrases: HashMap::default(), most_words: MOST_WORDS, stems: Vec::new() };
        for (phrase, meaning) in phrases() {
            if meaning.is_none_or(|m| disabled & (1 << m.rule) == 0) {
                keys.phrases.insert(phrase.replace(' ', "").into_bytes().into(), meaning);
            }
        }
        keys
    }

    /// Adds a name from a rule file: everything under it is `rule`'s.
    pub(crate) fn insert(&mut self, name: &str, rule: u16) {
        let folded = Folded::of(name.as_bytes());
        self.phrases.insert(folded.bytes(0, folded.words).into(), Some(Meaning::of_file(rule)));
        self.most_words = self.most_words.max(folded.words);
        let words: Vec<&str> = (0..folded.words).map(|w| folded.range(w, w + 1)).collect();
        self.stems.push(stem(&words.join(" ")).to_owned());
        self.stems.push(words.concat());
    }

    /// Makes a name mean nothing.
    pub(crate) fn exempt(&mut self, name: &str) {
        let folded = Folded::of(name.as_bytes());
        self.phrases.insert(folded.bytes(0, folded.words).into(), None);
    }

    /// What `name` means; `None` if nothing.
    pub(crate) fn meaning(&self, name: &[u8]) -> Option<Meaning> {
        let folded = Folded::of(name);
        let mut words = folded.words;
        if let Some(meaning) = self.longest(&folded, words) {
            return meaning;
        }
        // `phone_number_1`, `email value`: the last word only says what kind of field it is.
        while words > 1 && folded.is_filler(words - 1) {
            words -= 1;
            if let Some(meaning) = self.longest(&folded, words) {
                return meaning;
            }
        }
        None
    }

    /// What several words mean if together they are one phrase of the table: `date of birth`.
    pub(crate) fn phrase(&self, words: &[u8]) -> Option<Option<Meaning>> {
        let words = &words[words.len().saturating_sub(NAME_BYTES)..];
        let (mut joined, mut length) = ([0; NAME_BYTES], 0);
        for byte in words {
            joined[length] = byte.to_ascii_lowercase();
            length += usize::from(byte.is_ascii_alphanumeric());
        }
        self.phrases.get(&joined[..length]).copied()
    }

    fn longest(&self, folded: &Folded, words: usize) -> Option<Option<Meaning>> {
        // No phrase of the table has more words; a name of a rule file may.
        for first in words.saturating_sub(self.most_words)..words {
            if let Some(meaning) = self.phrases.get(folded.bytes(first, words)) {
                let fits = meaning.is_none_or(|m| first == 0 || !m.whole || folded.dotted & 1 << first != 0);
                if fits {
                    return Some(*meaning);
                }
            }
        }
        None
    }

    /// The words by which text is searched for names, with the rules they hint at and those whose
    /// phrases they are part of.
    pub(crate) fn words(&self) -> Vec<(String, RuleSet, RuleSet)> {
        let mut words: BTreeMap<String, (RuleSet, RuleSet)> = BTreeMap::new();
        for (phrase, meaning) in phrases() {
            let Some(meaning) = meaning else { continue };
            let joined = phrase.replace(' ', "");
            if self.phrases.get(joined.as_bytes()) != Some(&Some(meaning)) {
                continue;
            }
            let bit = 1 << meaning.rule;
            let entry = words.entry(joined).or_default();
            *entry = (entry.0 | bit, entry.1 | bit);
            // `date` finds `date of birth`, but does not hint at it.
            let stem = stem(phrase);
            let alone = self.meaning(stem.as_bytes()).is_some_and(|m| m.rule == meaning.rule);
            let entry = words.entry(stem.to_owned()).or_default();
            *entry = (entry.0 | if alone { bit } else { 0 }, entry.1 | bit);
        }
        for stem in self.stems.iter().filter(|s| !s.is_empty()) {
            words.entry(stem.clone()).or_default();
        }
        words.into_iter().map(|(word, (hints, may))| (word, hints, may)).collect()
    }
}

/// The word of a phrase by which it is found: the last one, unless that is found everywhere.
fn stem(phrase: &str) -> &str {
    let common = |w: &&str| {
        matches!(*w, "number" | "no" | "num" | "code" | "id" | "line" | "of" | "address" | "1" | "2")
    };
    let words = phrase.split(' ');
    let telling = words.clone().rev().find(|w| !common(w) && w.len() > 1);
    telling.or_else(|| words.rev().find(|w| w.len() > 2)).unwrap_or(phrase)
}

/// A name in lower-case words.
struct Folded {
    text: [u8; NAME_BYTES],
    len: usize,
    starts: [u8; MAX_WORDS + 1],
    words: usize,
    /// Which words stand after a dot.
    dotted: u32,
}

impl Folded {
    fn of(name: &[u8]) -> Folded {
        let name = &name[name.len().saturating_sub(NAME_BYTES)..];
        let mut folded =
            Folded { text: [0; NAME_BYTES], len: 0, starts: [0; MAX_WORDS + 1], words: 0, dotted: 0 };
        let mut previous = b' ';
        for (i, &byte) in name.iter().enumerate() {
            let begins = match byte {
                b'A'..=b'Z' => {
                    let next_is_lower = name.get(i + 1).is_some_and(u8::is_ascii_lowercase);
                    !previous.is_ascii_uppercase() || next_is_lower
                }
                b'a'..=b'z' => !previous.is_ascii_alphabetic(),
                b'0'..=b'9' => !previous.is_ascii_digit(),
                _ => false,
            };
            if begins && folded.words < MAX_WORDS {
                folded.starts[folded.words] = folded.len as u8;
                folded.dotted |= u32::from(previous == b'.') << folded.words;
                folded.words += 1;
            }
            if byte.is_ascii_alphanumeric() {
                folded.text[folded.len] = byte.to_ascii_lowercase();
                folded.len += 1;
            }
            previous = byte;
        }
        folded.starts[folded.words] = folded.len as u8;
        folded
    }

    fn bytes(&self, first: usize, last: usize) -> &[u8] {
        &self.text[usize::from(self.starts[first])..usize::from(self.starts[last])]
    }

    fn range(&self, first: usize, last: usize) -> &str {
        std::str::from_utf8(self.bytes(first, last)).unwrap_or_default()
    }

    fn is_filler(&self, word: usize) -> bool {
        let word = self.bytes(word, word + 1);
        word.iter().all(u8::is_ascii_digit)
            || matches!(
                word,
                b"number"
                    | b"no"
                    | b"num"
                    | b"nr"
                    | b"value"
                    | b"text"
                    | b"str"
                    | b"string"
                    | b"raw"
                    | b"field"
                    | b"header"
                    | b"param"
                    | b"plain"
                    | b"input"
            )
    }
}

/// Whether a name is that of a technical number or id, under which digits that only pass a checksum are
/// most likely an accident.
pub(crate) fn is_technical(name: &[u8]) -> bool {
    const LAST: &[&str] = &[
        "amount",
        "attempt",
        "batch",
        "build",
        "bytes",
        "checksum",
        "commit",
        "correlation",
        "count",
        "cursor",
        "duration",
        "elapsed",
        "epoch",
        "exp",
        "expires",
        "generation",
        "iat",
        "index",
        "invoice",
        "job",
        "latency",
        "length",
        "limit",
        "line",
        "ms",
        "nanos",
        "ns",
        "offset",
        "order",
        "page",
        "partition",
        "pid",
        "port",
        "price",
        "ref",
        "reference",
        "revision",
        "rows",
        "seq",
        "sequence",
        "shard",
        "size",
        "sku",
        "snowflake",
        "span",
        "spanid",
        "thread",
        "tid",
        "time",
        "timestamp",
        "total",
        "trace",
        "traceid",
        "ts",
        "ttl",
        "txn",
        "until",
        "us",
        "version",
        "watermark",
    ];
    let folded = Folded::of(name);
    let id = folded.words > 1 && folded.bytes(folded.words - 1, folded.words) == b"id";
    let last = folded.words - usize::from(id);
    last > 0 && LAST.binary_search_by(|word| word.as_bytes().cmp(folded.bytes(last - 1, last))).is_ok()
}

fn phrases() -> impl Iterator<Item = (&'static str, Option<Meaning>)> {
    PHRASES.iter().flat_map(|(rule, shape, whole, list)| {
        let meaning = rule.map(|rule| Meaning { rule: rule.id(), shape: *shape, whole: *whole });
        list.split('|').map(move |phrase| (phrase, meaning))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::Rule;

    fn check(name: &str, want: Option<Rule>) {
        let got = Keys::builtin(0).meaning(name.as_bytes()).map(|m| m.rule);
        assert_eq!(got, want.map(Rule::id), "{name}");
    }

    #[test]
    fn every_spelling_of_a_name_means_the_same() {
        for name in [
            "nationalInsuranceNumber",
            "national_insurance_number",
            "national-insurance",
            "x-app-national.insurance",
            "NATIONAL_INSURANCE_NUMBER",
            "NationalInsuranceNo",
            "ni_number",
            "user.nino",
        ] {
            check(name, Some(Rule::Nino));
        }
        for name in [
            "email",
            "userEmail",
            "contact_email",
            "x_user_email",
            "e-mail",
            "customer.emailAddress",
            "email2",
        ] {
            check(name, Some(Rule::Email));
        }
        for name in ["X-Api-Key", "apikey", "APIKey", "http.request.header.x-api-key"] {
            check(name, Some(Rule::ApiKey));
        }
        check("HTTPSPassword", Some(Rule::Password));
        check("http.request.header.authorization", Some(Rule::Authorization));
    }

    #[test]
    fn what_a_name_ends_with_decides() {
        check("token_type", None);
        check("password_reset_url", None);
        check("email.verified", None);
        check("card_type", None);
        check("idempotency-key", None);
        check("client_address", None);
        check("service.name", None);
        check("user.pass.count", None);
        check("compass", None);
        check("name", Some(Rule::Name));
        check("file.name", None);
        check("app.pin", Some(Rule::Password));
        check("gpio_pin", None);
    }

    #[test]
    fn no_phrase_has_more_words_than_are_tried() {
        for (phrase, _) in phrases() {
            assert!(Folded::of(phrase.as_bytes()).words <= MOST_WORDS, "{phrase}");
        }
    }

    #[test]
    fn technical_names_are_known() {
        for name in ["order_id", "batch", "trace-id", "offset", "kafka.offset", "startTime", "sequence"] {
            assert!(is_technical(name.as_bytes()), "{name}");
        }
        for name in ["patient_id", "nhs", "id", "", "phone"] {
            assert!(!is_technical(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn names_from_a_rule_file_are_found_in_every_spelling() {
        let mut keys = Keys::builtin(0);
        keys.insert("badgeNumber", 77);
        keys.exempt("email");
        assert_eq!(keys.meaning(b"x-badge-number").map(|m| m.rule), Some(77));
        assert_eq!(keys.meaning(b"user_email"), None);
        assert!(keys.words().contains(&("badge".to_owned(), 0, 0)));
    }
}
