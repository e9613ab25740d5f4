//! Redacts texts and remembers what it decided.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::builtin::Rule;
use crate::cache::{Cache, Outcome};
use crate::context::Found;
use crate::decode;
use crate::fields::{FieldClass, looks_technical};
use crate::network;
use crate::placeholder::UNSCANNED;
use crate::rules::{Action, Rules};
use crate::scan::Scratch;

/// Redacts. Owns a bounded memory of decisions and the counters; one per thread.
pub struct Redactor {
    pub(crate) rules: Arc<Rules>,
    pub(crate) cache: Cache,
    pub(crate) counts: Counts,
    /// What was decided about names of attributes.
    names: HashMap<Box<str>, (FieldClass, Outcome), foldhash::fast::RandomState>,
    scratch: Scratch,
}

/// Names of attributes that are remembered; a mesh has a few hundred, and whoever invents them gains nothing.
const NAMES: usize = 4_096;
/// The longest name that is remembered, in bytes.
const NAME_BYTES: usize = 256;

/// Hits by rule, and values that could not be scanned.
#[derive(Default)]
pub(crate) struct Counts {
    by_rule: Vec<u64>,
    /// Hits under rules that are no longer in force, by name.
    past: BTreeMap<String, u64>,
    unscanned: u64,
}

/// Marks a value that could not be scanned, where a rule's number stands.
pub(crate) const UNSCANNED_RULE: u16 = u16::MAX;

/// Passes over one value until nothing more is found: replacing one value may bring a word near another.
/// Three are enough for what people write; a value that needs more was made to need more.
const PASSES: usize = 6;

impl Redactor {
    /// Makes a redactor with an empty memory.
    pub fn new(rules: Arc<Rules>) -> Redactor {
        let counts = Counts { by_rule: vec![0; rules.table.len()], ..Counts::default() };
        Redactor {
            cache: Cache::new(rules.cache_bytes),
            names: HashMap::default(),
            rules,
            counts,
            scratch: Scratch::default(),
        }
    }

    /// Puts other rules in force; what was remembered under the old ones is forgotten, the counts stay.
    pub fn set_rules(&mut self, rules: Arc<Rules>) {
        self.counts.retire(&self.rules);
        self.counts.by_rule = vec![0; rules.table.len()];
        self.cache = Cache::new(rules.cache_bytes);
        self.names.clear();
        self.rules = rules;
    }

    /// Redacts one text; `key` is the name of the attribute that holds it, if it is one.
    pub fn redact_text<'a>(&mut self, key: Option<&str>, text: &'a str) -> Cow<'a, str> {
        let class = key.map_or_else(FieldClass::default, |k| self.name(k).0);
        let outcome = self.decide(class, text);
        let Outcome::Replaced { text, hits } = outcome else { return Cow::Borrowed(text) };
        self.counts.add(&hits, 1);
        Cow::Owned(text.into())
    }

    /// Hits of each rule since start, and values that could not be scanned as `unscanned`. Counts values,
    /// never holds them.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = self.counts.past.clone();
        for (entry, count) in self.rules.table.iter().zip(&self.counts.by_rule) {
            if *count > 0 {
                *counts.entry(entry.name.clone()).or_default() += count;
            }
        }
        if self.counts.unscanned > 0 {
            *counts.entry("unscanned".to_owned()).or_default() += self.counts.unscanned;
        }
        counts
    }

    /// Decides about a text under a name of this class, from memory if it was seen before.
    pub(crate) fn decide(&mut self, class: FieldClass, text: &str) -> Outcome {
        if class.skip && looks_technical(text) || self.is_plain(class, text) {
            return Outcome::Clean;
        }
        if text.len() > self.rules.value_bytes {
            return Outcome::Replaced { text: UNSCANNED.into(), hits: Box::new([UNSCANNED_RULE]) };
        }
        if let Some(outcome) = self.cache.get(class.code(), text) {
            return outcome;
        }
        let outcome = self.scan(class, text);
        self.cache.insert(class.code(), text, &outcome);
        outcome
    }

    /// The class of an attribute's name, and what becomes of the name itself.
    pub(crate) fn name(&mut self, name: &str) -> (FieldClass, Outcome) {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        let class = self.rules.fields.class(name, &self.rules.scanner.keys);
        let outcome = self.decide(FieldClass::default(), name);
        if name.len() <= NAME_BYTES {
            if self.names.len() >= NAMES {
                self.names.clear();
            }
            self.names.insert(name.into(), (class, outcome.clone()));
        }
        (class, outcome)
    }

    /// Whether a text is so short or plain that no built-in rule can find anything, and there are no others:
    /// a few bytes, a small number, a word in small letters.
    fn is_plain(&self, class: FieldClass, text: &str) -> bool {
        if text.is_empty() {
            return true;
        }
        let bytes = text.as_bytes();
        class.field.meaning.is_none()
            && self.rules.scanner.patterns.is_empty()
            && (bytes.len() < 6
                || bytes.len() <= 8 && bytes[0] != b'0' && bytes.iter().all(u8::is_ascii_digit)
                || bytes.len() <= 40
                    && bytes.iter().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'-' | b'.')))
    }

    fn scan(&mut self, class: FieldClass, text: &str) -> Outcome {
        let mut hits = Vec::new();
        let mut current = Cow::Borrowed(text);
        for _ in 0..PASSES {
            self.rules.scanner.scan(&current, class.field, &mut self.scratch);
            if self.scratch.exhausted {
                break;
            }
            self.rules.spare_allowed(&current, &mut self.scratch.found);
            if self.scratch.found.is_empty() {
                return match current {
                    Cow::Borrowed(_) => Outcome::Clean,
                    Cow::Owned(text) => Outcome::Replaced { text: text.into(), hits: hits.into() },
                };
            }
            hits.extend(self.scratch.found.iter().map(|f| f.rule));
            current = Cow::Owned(self.rules.replace(&current, &self.scratch.found));
        }
        hits.push(UNSCANNED_RULE);
        Outcome::Replaced { text: UNSCANNED.into(), hits: hits.into() }
    }
}

impl Counts {
    pub(crate) fn add(&mut self, hits: &[u16], times: u64) {
        for rule in hits {
            match self.by_rule.get_mut(usize::from(*rule)) {
                Some(count) => *count += times,
                None => self.unscanned += times,
            }
        }
    }

    fn retire(&mut self, rules: &Rules) {
        for (entry, count) in rules.table.iter().zip(&self.by_rule) {
            if *count > 0 {
                *self.past.entry(entry.name.clone()).or_default() += count;
            }
        }
    }
}

impl Rules {
    pub(crate) fn spare_allowed(&self, text: &str, found: &mut Vec<Found>) {
        if !self.allow.is_empty() {
            found.retain(|f| {
                let plain = decode::plain(&text.as_bytes()[f.start..f.end]);
                !std::str::from_utf8(&plain).is_ok_and(|value| self.allows(f.rule, value))
            });
        }
    }

    /// `text` with a placeholder, pseudonym or truncated address in the place of everything found.
    pub(crate) fn replace(&self, text: &str, found: &[Found]) -> String {
        let mut out = String::with_capacity(text.len() + 16);
        let mut done = 0;
        for f in found {
            out.push_str(&text[done..f.start]);
            let quote = json_quote(text, f);
            out.push_str(quote);
            self.write(&text[f.start..f.end], f.rule, &mut out);
            out.push_str(quote);
            done = f.end;
        }
        out.push_str(&text[done..]);
        out
    }

    fn write(&self, value: &str, rule: u16, out: &mut String) {
        let entry = &self.table[usize::from(rule)];
        if entry.action == Action::Truncate
            && let Some(truncated) = network::truncate(&canonical(rule, value))
        {
            return out.push_str(&truncated);
        }
        out.push('{');
        out.push_str(&entry.placeholder);
        if let (Action::Pseudonymise, Some(key)) = (entry.action, &self.key) {
            out.push(':');
            key.write(&entry.placeholder, &canonical(rule, value), out);
        }
        out.push('}');
    }
}

/// A value as all its spellings are written: decoded, addresses in small letters, numbers without separators.
fn canonical(rule: u16, value: &str) -> String {
    let plain = decode::Decoded::of(value.as_bytes());
    let plain = plain
        .map_or_else(|| Cow::Borrowed(value), |d| Cow::Owned(String::from_utf8_lossy(&d.bytes).into_owned()));
    let numbers = [
        Rule::Card,
        Rule::Iban,
        Rule::Nino,
        Rule::Nhs,
        Rule::Utr,
        Rule::DrivingLicence,
        Rule::Passport,
        Rule::Plate,
        Rule::Ssn,
        Rule::Imei,
        Rule::Phone,
        Rule::MacAddress,
        Rule::Postcode,
        Rule::BankAccount,
    ];
    if numbers.iter().any(|n| n.id() == rule) {
        return plain.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect();
    }
    plain.trim().to_lowercase()
}

/// The quotes a placeholder needs where a bare number of JSON stood: `"card":4111…,` becomes `"card":"{card}",`.
fn json_quote<'a>(text: &'a str, found: &Found) -> &'a str {
    let bytes = text.as_bytes();
    let number =
        bytes[found.start..found.end].iter().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+'));
    let next = bytes[found.end..].iter().find(|b| !b.is_ascii_whitespace());
    if !number || !matches!(next, Some(b',' | b'}' | b']')) {
        return "";
    }
    let before = text[..found.start].trim_end();
    let Some(name) = before.strip_suffix(':').map(str::trim_end) else { return "" };
    let Some(quoted) = name.strip_suffix('"') else { return "" };
    let slashes = quoted.len() - quoted.trim_end_matches('\\').len();
    &text[quoted.len() - slashes..=quoted.len()]
}
